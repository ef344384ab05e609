/* The floor: what this machine allows a server that runs no Python.
 *
 * In: HTTP/1.1 requests on 127.0.0.1:PORT (`floor PORT`). Out: the same answers as apps.py and
 * fastapi_app.py give. One thread, one level-triggered epoll set, keep-alive, pipelining (the
 * answers to all requests of one read leave in one write), Connection: close honoured.
 *
 * It parses what the answers depend on (request line, Content-Length, Connection) and no more, so
 * it is a yardstick for bench/run.py and not a server: never expose it.
 *
 * The rule it keeps: a connection that waits owns no buffers. Input is read into one shared
 * buffer and output gathered in another; only what is left over is copied to the connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    EVENTS_MAX = 512,
    HEAD_BYTES_MAX = 64 * 1024,
    BODY_BYTES_MAX = 16 * 1024 * 1024, /* of POST /echo, which answers only when it has it all */
    INPUT_BYTES = 256 * 1024,          /* of one read */
    SEGMENT_BYTES = 64 * 1024,         /* one write of GET /down */
    SEGMENT_COUNT = 1600,
    CHUNK_BYTES = 1024, /* one write of GET /stream */
    CHUNK_COUNT = 100,
    LARGE_BYTES = 10 * 1024,
    WRITES_PER_TURN = 128, /* then the other connections have their turn */
};

struct bytes {
    char *start;
    size_t length;
    size_t capacity;
};

/* What the connection is doing; each state uses `remaining` in its own way. */
enum state {
    READING_REQUEST, /* unused */
    COUNTING_BODY,   /* of POST /up: bytes still to come */
    STREAMING,       /* of GET /stream: writes still to make */
    DOWNLOADING,     /* of GET /down: bytes still to write */
};

struct connection {
    int descriptor;
    uint32_t interest;
    enum state state;
    bool close_after;    /* the request in hand asked for it */
    size_t remaining;    /* see enum state */
    size_t body_length;  /* of POST /up: the number to answer */
    struct bytes input;  /* read, not yet parsed */
    struct bytes output; /* answered, not yet taken by the kernel */
};

enum method { METHOD_GET, METHOD_POST, METHOD_OTHER };

struct request {
    enum method method;
    const char *path;
    size_t path_length;
    size_t head_length;
    size_t content_length;
    bool close;
};

/* Of one step: whether there is more to do, the peer has to act first, or the connection ends. */
enum progress { PROGRESS, WAIT, CLOSE };

static int epoll_descriptor;
static char input_shared[INPUT_BYTES];
static struct bytes output_shared;
static char letters[SEGMENT_BYTES];
static char stream_chunk[5 + CHUNK_BYTES + 2] /* size line, data, CR LF */;
static char date[32];
static time_t date_second;

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void bytes_append(struct bytes *bytes, const void *data, size_t length)
{
    if (bytes->length + length > bytes->capacity) {
        size_t capacity = bytes->capacity ? bytes->capacity : 4096;
        while (capacity < bytes->length + length)
            capacity *= 2;
        bytes->start = realloc(bytes->start, capacity);
        if (!bytes->start)
            die("realloc");
        bytes->capacity = capacity;
    }
    memcpy(bytes->start + bytes->length, data, length);
    bytes->length += length;
}

static void bytes_free(struct bytes *bytes)
{
    free(bytes->start);
    *bytes = (struct bytes){0};
}

static void bytes_drop_front(struct bytes *bytes, size_t length)
{
    if (length == bytes->length) {
        bytes_free(bytes);
        return;
    }
    memmove(bytes->start, bytes->start + length, bytes->length - length);
    bytes->length -= length;
}

/* ---- answers ---- */

static void answer_head(const char *status, const char *type, size_t body_length, bool close)
{
    char head[256];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\ndate: %s\r\nserver: floor-c\r\n"
                          "content-type: %s\r\ncontent-length: %zu\r\n%s\r\n",
                          status, date, type, body_length, close ? "connection: close\r\n" : "");
    bytes_append(&output_shared, head, (size_t)length);
}

static void answer_error(struct connection *connection, const char *status)
{
    connection->close_after = true;
    answer_head(status, "text/plain", 0, true);
}

/* The head of a fixed answer changes with the date only: it is made once a second. */
static void answer_fixed(const char *type, const char *body, size_t body_length, bool close)
{
    static struct {
        const char *body;
        bool close;
        time_t second;
        size_t length;
        char head[256];
    } prepared[6];
    size_t i = 0;
    while (prepared[i].body && (prepared[i].body != body || prepared[i].close != close))
        i++; /* three bodies, each with and without close: there is always room */
    if (prepared[i].second != date_second) {
        size_t before = output_shared.length;
        answer_head("200 OK", type, body_length, close);
        prepared[i].body = body;
        prepared[i].close = close;
        prepared[i].second = date_second;
        prepared[i].length = output_shared.length - before;
        memcpy(prepared[i].head, output_shared.start + before, prepared[i].length);
    } else {
        bytes_append(&output_shared, prepared[i].head, prepared[i].length);
    }
    bytes_append(&output_shared, body, body_length);
}

static void answer_count(size_t body_length, bool close)
{
    char text[24];
    int length = snprintf(text, sizeof text, "%zu", body_length);
    answer_head("200 OK", "text/plain", (size_t)length, close);
    bytes_append(&output_shared, text, (size_t)length);
}

static void begin_stream(struct connection *connection)
{
    char head[256];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 200 OK\r\ndate: %s\r\nserver: floor-c\r\n"
                          "content-type: text/plain\r\ntransfer-encoding: chunked\r\n%s\r\n",
                          date, connection->close_after ? "connection: close\r\n" : "");
    bytes_append(&output_shared, head, (size_t)length);
    connection->state = STREAMING;
    connection->remaining = CHUNK_COUNT;
}

static void begin_download(struct connection *connection)
{
    connection->state = DOWNLOADING;
    connection->remaining = (size_t)SEGMENT_BYTES * SEGMENT_COUNT;
    answer_head("200 OK", "application/octet-stream", connection->remaining,
                connection->close_after);
}

static bool path_is(const struct request *request, const char *path)
{
    return request->path_length == strlen(path) &&
           memcmp(request->path, path, request->path_length) == 0;
}

/* Answers or starts to answer `request`; `body` is whole for every path but /up. */
static void answer(struct connection *connection, const struct request *request, const char *body)
{
    static const char hello[] = "Hello, world!";
    static const char json[] = "{\"message\":\"Hello, world!\"}";

    connection->close_after = request->close;
    if (request->method == METHOD_GET && path_is(request, "/hello"))
        answer_fixed("text/plain", hello, sizeof hello - 1, request->close);
    else if (request->method == METHOD_GET && path_is(request, "/10k"))
        answer_fixed("text/plain", letters, LARGE_BYTES, request->close);
    else if (request->method == METHOD_GET && path_is(request, "/"))
        answer_fixed("application/json", json, sizeof json - 1, request->close);
    else if (request->method == METHOD_GET && path_is(request, "/stream"))
        begin_stream(connection);
    else if (request->method == METHOD_GET && path_is(request, "/down"))
        begin_download(connection);
    else if (request->method == METHOD_POST && path_is(request, "/echo")) {
        answer_head("200 OK", "application/octet-stream", request->content_length, request->close);
        bytes_append(&output_shared, body, request->content_length);
    } else {
        answer_error(connection, "404 Not Found");
    }
}

/* ---- requests ---- */

static const char *line_value(const char *line, const char *end, const char *name)
{
    size_t length = strlen(name);
    if ((size_t)(end - line) <= length || line[length] != ':' ||
        strncasecmp(line, name, length) != 0)
        return NULL;
    line += length + 1;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    return line;
}

static bool value_contains(const char *value, const char *end, const char *token)
{
    size_t length = strlen(token);
    for (; value + length <= end; value++)
        if (strncasecmp(value, token, length) == 0)
            return true;
    return false;
}

static bool number_read(const char *value, const char *end, size_t *number)
{
    *number = 0;
    if (value == end || end - value > 15)
        return false;
    for (; value < end; value++) {
        if (*value < '0' || *value > '9')
            return false;
        *number = *number * 10 + (size_t)(*value - '0');
    }
    return true;
}

static bool request_line_parse(struct request *request, const char *line, const char *end)
{
    const char *space = memchr(line, ' ', (size_t)(end - line));
    const char *target_end = space ? memchr(space + 1, ' ', (size_t)(end - space - 1)) : NULL;
    if (!target_end || end - target_end != 9 || memcmp(target_end + 1, "HTTP/1.", 7) != 0)
        return false;
    size_t method_length = (size_t)(space - line);
    if (method_length == 3 && memcmp(line, "GET", 3) == 0)
        request->method = METHOD_GET;
    else if (method_length == 4 && memcmp(line, "POST", 4) == 0)
        request->method = METHOD_POST;
    else
        request->method = METHOD_OTHER;
    request->path = space + 1;
    const char *query = memchr(request->path, '?', (size_t)(target_end - request->path));
    request->path_length = (size_t)((query ? query : target_end) - request->path);
    request->close = target_end[8] == '0';
    return true;
}

/* Parses the head that ends, with its blank line, at `data + request->head_length`. */
static bool head_parse(struct request *request, const char *data)
{
    const char *end = data + request->head_length - 2;
    const char *line_end = memmem(data, request->head_length, "\r\n", 2);
    if (!request_line_parse(request, data, line_end))
        return false;
    request->content_length = 0;
    for (const char *line = line_end + 2; line < end; line = line_end + 2) {
        const char *value;
        line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!line_end)
            return false;
        switch (*line | 0x20) {
        case 'c':
            if ((value = line_value(line, line_end, "content-length"))) {
                if (!number_read(value, line_end, &request->content_length))
                    return false;
            } else if ((value = line_value(line, line_end, "connection"))) {
                if (value_contains(value, line_end, "close"))
                    request->close = true;
                else if (value_contains(value, line_end, "keep-alive"))
                    request->close = false;
            }
            break;
        case 't':
            /* A chunked request body would be read as the next request. */
            if (line_value(line, line_end, "transfer-encoding"))
                return false;
            break;
        }
    }
    return true;
}

static enum progress request_take(struct connection *connection, const char *data, size_t length,
                                  size_t *taken)
{
    struct request request;
    const char *blank = memmem(data, length, "\r\n\r\n", 4);
    if (!blank) {
        if (length <= HEAD_BYTES_MAX)
            return WAIT;
        answer_error(connection, "431 Request Header Fields Too Large");
        return CLOSE;
    }
    request.head_length = (size_t)(blank - data) + 4;
    if (!head_parse(&request, data)) {
        answer_error(connection, "400 Bad Request");
        return CLOSE;
    }
    if (request.method == METHOD_POST && path_is(&request, "/up")) {
        connection->close_after = request.close;
        *taken = request.head_length;
        if (request.content_length == 0) {
            answer_count(0, request.close);
            return PROGRESS;
        }
        connection->state = COUNTING_BODY;
        connection->body_length = connection->remaining = request.content_length;
        return PROGRESS;
    }
    if (request.content_length > BODY_BYTES_MAX) {
        answer_error(connection, "413 Content Too Large");
        return CLOSE;
    }
    if (length - request.head_length < request.content_length)
        return WAIT;
    answer(connection, &request, data + request.head_length);
    *taken = request.head_length + request.content_length;
    return PROGRESS;
}

static void body_count(struct connection *connection, size_t length, size_t *taken)
{
    *taken = length < connection->remaining ? length : connection->remaining;
    connection->remaining -= *taken;
    if (connection->remaining == 0) {
        connection->state = READING_REQUEST;
        answer_count(connection->body_length, connection->close_after);
    }
}

/* ---- writing ---- */

/* Sends `data` with `flags`, then keeps what the kernel did not take. */
static enum progress send_or_keep(struct connection *connection, const char *data, size_t length,
                                  int flags)
{
    ssize_t sent = send(connection->descriptor, data, length, MSG_NOSIGNAL | flags);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return CLOSE;
        sent = 0;
    }
    if ((size_t)sent == length)
        return PROGRESS;
    bytes_append(&connection->output, data + sent, length - (size_t)sent);
    return WAIT;
}

static enum progress flush_shared(struct connection *connection, int flags)
{
    if (output_shared.length == 0)
        return PROGRESS;
    enum progress progress =
        send_or_keep(connection, output_shared.start, output_shared.length, flags);
    output_shared.length = 0;
    return progress;
}

static enum progress flush_kept(struct connection *connection)
{
    struct bytes *output = &connection->output;
    if (output->length == 0)
        return PROGRESS;
    ssize_t sent = send(connection->descriptor, output->start, output->length, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? WAIT : CLOSE;
    bytes_drop_front(output, (size_t)sent);
    return output->length ? WAIT : PROGRESS;
}

/* One write a chunk, as an application's send() each; head and first chunk, and last chunk and
 * terminator, leave together. MSG_MORE lets the kernel fill its segments, because more follows at
 * once: with a segment a chunk this is ten times as slow, and servers that gather the chunks of
 * one turn of their loop would fall below the floor. */
static enum progress stream_step(struct connection *connection)
{
    connection->remaining--;
    if (output_shared.length == 0 && connection->remaining > 0)
        return send_or_keep(connection, stream_chunk, sizeof stream_chunk, MSG_MORE);
    bytes_append(&output_shared, stream_chunk, sizeof stream_chunk);
    if (connection->remaining > 0)
        return flush_shared(connection, MSG_MORE);
    bytes_append(&output_shared, "0\r\n\r\n", 5);
    return flush_shared(connection, 0);
}

static enum progress download_step(struct connection *connection)
{
    if (output_shared.length) {
        enum progress progress = flush_shared(connection, 0);
        if (progress != PROGRESS)
            return progress;
    }
    size_t length = connection->remaining < SEGMENT_BYTES ? connection->remaining : SEGMENT_BYTES;
    ssize_t sent = send(connection->descriptor, letters, length, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? WAIT : CLOSE;
    connection->remaining -= (size_t)sent;
    return (size_t)sent == length ? PROGRESS : WAIT;
}

/* ---- connections ---- */

static void connection_close(struct connection *connection)
{
    close(connection->descriptor);
    bytes_free(&connection->input);
    bytes_free(&connection->output);
    free(connection);
}

static void interest_set(struct connection *connection, uint32_t interest)
{
    if (connection->interest == interest)
        return;
    struct epoll_event event = {.events = interest, .data.ptr = connection};
    if (epoll_ctl(epoll_descriptor, EPOLL_CTL_MOD, connection->descriptor, &event) < 0)
        die("epoll_ctl");
    connection->interest = interest;
}

/* Writes what the state still has to write. WAIT: the peer has to read first, or the turn is
 * over; PROGRESS: all is written and the next request may be parsed. */
static enum progress produce(struct connection *connection)
{
    for (int writes = 0; writes < WRITES_PER_TURN; writes++) {
        enum progress progress;
        if (connection->state == STREAMING)
            progress = stream_step(connection);
        else if (connection->state == DOWNLOADING)
            progress = download_step(connection);
        else
            return PROGRESS;
        if (connection->remaining == 0) {
            connection->state = READING_REQUEST;
            return progress;
        }
        if (progress != PROGRESS)
            return progress;
    }
    return WAIT;
}

/* Parses and answers as much of `data` as it can; returns how much it took. */
static enum progress consume(struct connection *connection, const char *data, size_t length,
                             size_t *taken)
{
    enum progress progress = PROGRESS;
    *taken = 0;
    while (progress == PROGRESS && *taken < length) {
        size_t step = 0;
        if (connection->state == COUNTING_BODY)
            body_count(connection, length - *taken, &step);
        else
            progress = request_take(connection, data + *taken, length - *taken, &step);
        *taken += step;
        if (connection->state == STREAMING || connection->state == DOWNLOADING) {
            progress = produce(connection);
            if (progress != PROGRESS)
                break;
        }
        if (connection->state == READING_REQUEST && connection->close_after)
            return CLOSE;
    }
    return progress;
}

/* Flushes the answers of this turn, keeps the rest of the input, and says what to wait for. */
static void turn_end(struct connection *connection, enum progress progress)
{
    if (flush_shared(connection, 0) == CLOSE) {
        connection_close(connection);
        return;
    }
    bool unsent = connection->output.length > 0;
    bool producing = connection->state == STREAMING || connection->state == DOWNLOADING;
    bool finished = progress == CLOSE || (connection->close_after && !producing &&
                                          connection->state == READING_REQUEST);
    if (finished && !unsent) {
        connection_close(connection);
        return;
    }
    connection->close_after = connection->close_after || finished;
    interest_set(connection, unsent || producing ? EPOLLOUT : EPOLLIN);
}

static void on_input(struct connection *connection, bool read_more)
{
    const char *data = input_shared;
    size_t length = connection->input.length;
    if (length > sizeof input_shared / 2 || !read_more) {
        /* A large POST /echo: gather it in the connection's own buffer. */
        if (read_more) {
            ssize_t count = recv(connection->descriptor, input_shared, sizeof input_shared, 0);
            if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
                connection_close(connection);
                return;
            }
            if (count > 0)
                bytes_append(&connection->input, input_shared, (size_t)count);
        }
        data = connection->input.start;
        length = connection->input.length;
    } else {
        if (length)
            memcpy(input_shared, connection->input.start, length);
        ssize_t count =
            recv(connection->descriptor, input_shared + length, sizeof input_shared - length, 0);
        if (count <= 0) {
            if (count == 0 || (errno != EAGAIN && errno != EINTR))
                connection_close(connection);
            return;
        }
        length += (size_t)count;
        bytes_free(&connection->input);
    }

    size_t taken;
    enum progress progress = consume(connection, data, length, &taken);
    if (data != input_shared)
        bytes_drop_front(&connection->input, taken);
    else if (taken < length)
        bytes_append(&connection->input, data + taken, length - taken);
    turn_end(connection, progress);
}

static void on_output(struct connection *connection)
{
    enum progress progress = flush_kept(connection);
    if (progress == PROGRESS)
        progress = produce(connection);
    if (progress == CLOSE) {
        connection_close(connection);
        return;
    }
    if (progress == PROGRESS && !connection->close_after && connection->input.length) {
        on_input(connection, false); /* the requests that waited behind this answer */
        return;
    }
    turn_end(connection, progress);
}

static void on_listener(int listener)
{
    for (;;) {
        int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) {
            if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
                return;
            die("accept4"); /* mostly: too few file descriptors, which spoils a measurement */
        }
        int on = 1;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            die("calloc");
        connection->descriptor = descriptor;
        connection->interest = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll_descriptor, EPOLL_CTL_ADD, descriptor, &event) < 0)
            die("epoll_ctl");
    }
}

static int listen_on(uint16_t port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0)
        die("socket");
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind");
    if (listen(listener, BACKLOG) < 0)
        die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_descriptor, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll_ctl");
    return listener;
}

static void date_renew(void)
{
    time_t now = time(NULL);
    if (now == date_second)
        return;
    struct tm fields;
    gmtime_r(&now, &fields);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &fields);
    date_second = now;
}

int main(int argument_count, char **arguments)
{
    int port = argument_count == 2 ? atoi(arguments[1]) : 0;
    if (port <= 0 || port > 65535) {
        fprintf(stderr, "usage: floor PORT\n");
        return 2;
    }
    memset(letters, 'x', sizeof letters);
    memcpy(stream_chunk, "400\r\n", 5);
    memset(stream_chunk + 5, 'x', CHUNK_BYTES);
    memcpy(stream_chunk + 5 + CHUNK_BYTES, "\r\n", 2);
    signal(SIGPIPE, SIG_IGN);

    epoll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_descriptor < 0)
        die("epoll_create1");
    int listener = listen_on((uint16_t)port);

    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(epoll_descriptor, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        date_renew();
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection)
                on_listener(listener);
            else if (events[i].events & EPOLLOUT)
                on_output(connection);
            else
                on_input(connection, true);
        }
    }
}
