/* The load generator for large bodies, where wrk is the bottleneck (it reads 8 KB at a time).
 *
 * In: `bulk down|up PORT PATH CONNECTIONS SECONDS BYTES`. Every connection on 127.0.0.1:PORT is
 * kept alive and makes one request after the other: `down` gets PATH and checks that BYTES bytes
 * come back, `up` posts BYTES bytes and checks that the answer is that number. After SECONDS no
 * new request starts; those under way are finished, so that every byte belongs to a counted
 * request. Out: one line of JSON. bench/measure.py runs it.
 *
 * The rule it keeps: any wrong answer, closed connection or stall of STALL_MS ends the run with a
 * message on standard error and exit code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
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
    CONNECTIONS_MAX = 256,
    HEAD_BYTES_MAX = 8 * 1024,
    TRANSFER_BYTES = 256 * 1024, /* of one read or write */
    SAMPLES_MAX = 1 << 20,
    STALL_MS = 20 * 1000,
};

enum state { SENDING, READING_HEAD, READING_BODY, FINISHED };

struct connection {
    int descriptor;
    enum state state;
    uint64_t started_ns;
    size_t sent;           /* of request head and body together */
    size_t head_length;    /* of the answer, read so far */
    size_t body_remaining; /* of the answer */
    size_t body_kept;      /* of the answer to `up` */
    char head[HEAD_BYTES_MAX];
    char body[32];
};

static bool uploading;
static size_t body_bytes;
static char request_head[512];
static size_t request_head_length;
static char transfer[TRANSFER_BYTES];
static uint32_t samples_us[SAMPLES_MAX];
static size_t sample_count;
static uint64_t deadline_ns;
static uint64_t finished_ns;
static int epoll_descriptor;
static size_t connections_open;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void wait_for(struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll_descriptor, EPOLL_CTL_MOD, connection->descriptor, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void request_begin(struct connection *connection)
{
    connection->state = SENDING;
    connection->started_ns = now_ns();
    connection->sent = 0;
    connection->head_length = 0;
    connection->body_kept = 0;
    wait_for(connection, EPOLLIN | EPOLLOUT);
}

static void request_finish(struct connection *connection)
{
    finished_ns = now_ns();
    if (uploading) {
        connection->body[connection->body_kept] = '\0';
        if (strtoull(connection->body, NULL, 10) != body_bytes)
            fail("the server counted `%s` of %zu bytes", connection->body, body_bytes);
    }
    if (sample_count < SAMPLES_MAX)
        samples_us[sample_count++] = (uint32_t)((finished_ns - connection->started_ns) / 1000);
    if (finished_ns < deadline_ns) {
        request_begin(connection);
        return;
    }
    connection->state = FINISHED;
    connections_open--;
    epoll_ctl(epoll_descriptor, EPOLL_CTL_DEL, connection->descriptor, NULL);
}

static void on_writable(struct connection *connection)
{
    size_t total = request_head_length + (uploading ? body_bytes : 0);
    const char *data = transfer;
    size_t length = total - connection->sent;
    if (connection->sent < request_head_length) {
        data = request_head + connection->sent;
        length = request_head_length - connection->sent;
    } else if (length > sizeof transfer) {
        length = sizeof transfer;
    }
    ssize_t count = send(connection->descriptor, data, length, MSG_NOSIGNAL);
    if (count < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return;
        fail("send: %s after %zu of %zu bytes", strerror(errno), connection->sent, total);
    }
    connection->sent += (size_t)count;
    if (connection->sent == total) {
        connection->state = READING_HEAD;
        wait_for(connection, EPOLLIN);
    }
}

static size_t content_length(const char *head)
{
    const char *line = strcasestr(head, "\r\ncontent-length:");
    if (!line)
        fail("the answer has no content-length");
    return strtoull(line + strlen("\r\ncontent-length:"), NULL, 10);
}

/* Keeps the short answer to `up`, forgets the long one to `down`. */
static void body_take(struct connection *connection, const char *data, size_t length)
{
    if (length > connection->body_remaining)
        fail("the answer is longer than its content-length");
    if (uploading) {
        if (connection->body_kept + length >= sizeof connection->body)
            fail("the answer to an upload is no number");
        memcpy(connection->body + connection->body_kept, data, length);
        connection->body_kept += length;
    }
    connection->body_remaining -= length;
    if (connection->body_remaining == 0)
        request_finish(connection);
}

static void head_take(struct connection *connection, const char *data, size_t length)
{
    size_t room = sizeof connection->head - 1 - connection->head_length;
    size_t taken = length < room ? length : room;
    size_t before = connection->head_length;
    memcpy(connection->head + before, data, taken);
    connection->head_length += taken;
    connection->head[connection->head_length] = '\0';
    const char *blank = strstr(connection->head, "\r\n\r\n");
    if (!blank) {
        if (taken < length)
            fail("the answer's head is longer than %d bytes", HEAD_BYTES_MAX);
        return;
    }
    if (strncmp(connection->head, "HTTP/1.1 200", 12) != 0)
        fail("the answer is `%.*s`", (int)strcspn(connection->head, "\r"), connection->head);
    if (connection->state == SENDING)
        fail("the server answered before it had the body");
    connection->body_remaining = content_length(connection->head);
    if (!uploading && connection->body_remaining != body_bytes)
        fail("the answer has %zu of %zu bytes", connection->body_remaining, body_bytes);
    connection->state = READING_BODY;
    size_t used = (size_t)(blank - connection->head) + 4 - before;
    if (used < length)
        body_take(connection, data + used, length - used);
}

static void on_readable(struct connection *connection)
{
    static char input[TRANSFER_BYTES];
    ssize_t count = recv(connection->descriptor, input, sizeof input, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count < 0)
        fail("recv: %s after %zu requests", strerror(errno), sample_count);
    if (count == 0)
        fail("the server closed the connection after %zu requests", sample_count);
    if (connection->state == READING_BODY)
        body_take(connection, input, (size_t)count);
    else
        head_take(connection, input, (size_t)count);
}

static void connection_open(struct connection *connection, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    connection->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->descriptor < 0 ||
        connect(connection->descriptor, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect: %s", strerror(errno));
    setsockopt(connection->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = 0, .data.ptr = connection};
    if (epoll_ctl(epoll_descriptor, EPOLL_CTL_ADD, connection->descriptor, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void transfer_all(void)
{
    while (connections_open > 0) {
        struct epoll_event events[CONNECTIONS_MAX];
        int count = epoll_wait(epoll_descriptor, events, CONNECTIONS_MAX, STALL_MS);
        if (count == 0)
            fail("nothing moved for %d seconds", STALL_MS / 1000);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                on_readable(connection);
            else if (connection->state == SENDING)
                on_writable(connection);
        }
    }
}

static int sample_compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

int main(int argument_count, char **arguments)
{
    static struct connection connections[CONNECTIONS_MAX];
    if (argument_count != 7)
        fail("usage: bulk down|up PORT PATH CONNECTIONS SECONDS BYTES");
    uploading = strcmp(arguments[1], "up") == 0;
    uint16_t port = (uint16_t)atoi(arguments[2]);
    connections_open = (size_t)atoi(arguments[4]);
    double seconds = atof(arguments[5]);
    body_bytes = strtoull(arguments[6], NULL, 10);
    if (connections_open < 1 || connections_open > CONNECTIONS_MAX)
        fail("between 1 and %d connections", CONNECTIONS_MAX);
    int length = uploading ? snprintf(request_head, sizeof request_head,
                                      "POST %s HTTP/1.1\r\nhost: localhost\r\n"
                                      "content-type: application/octet-stream\r\n"
                                      "content-length: %zu\r\n\r\n",
                                      arguments[3], body_bytes)
                           : snprintf(request_head, sizeof request_head,
                                      "GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n", arguments[3]);
    if (length < 0 || (size_t)length >= sizeof request_head)
        fail("the path is too long");
    request_head_length = (size_t)length;
    memset(transfer, 'x', sizeof transfer);
    signal(SIGPIPE, SIG_IGN);

    epoll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    uint64_t started_ns = now_ns();
    deadline_ns = started_ns + (uint64_t)(seconds * 1e9);
    size_t count = connections_open;
    for (size_t i = 0; i < count; i++)
        connection_open(&connections[i], port);
    for (size_t i = 0; i < count; i++)
        request_begin(&connections[i]);
    transfer_all();

    qsort(samples_us, sample_count, sizeof *samples_us, sample_compare);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u}\n",
           sample_count, (double)(finished_ns - started_ns) / 1e9, samples_us[sample_count / 2],
           samples_us[sample_count * 99 / 100]);
    return 0;
}
