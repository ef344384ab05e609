/* The load generator for WebSocket.
 *
 * In: `websocket echo PORT PATH CONNECTIONS SECONDS BYTES`: every connection has one text message of
 * BYTES in flight, and sends the next when it has come back whole. Or `websocket broadcast PORT PATH
 * SUBSCRIBERS SECONDS BYTES`: SUBSCRIBERS connections to PATH/subscribe, and one to PATH/publish that
 * sends a text message of BYTES as soon as every subscriber has the one before it. Out: one line of
 * JSON; a request is a message that came back, or one delivery. bench/measure.py runs it.
 *
 * The rule it keeps: a wrong frame, a closed connection or a stall of STALL_MS ends the run with a
 * message on standard error and exit code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 4096,
    MESSAGE_BYTES_MAX = 64 * 1024,
    FRAME_BYTES_MAX = MESSAGE_BYTES_MAX + 14,
    SAMPLES_MAX = 1 << 22,
    EVENTS_MAX = 256,
    STALL_MS = 20 * 1000,
};

enum state { HANDSHAKE, GREETING, OPEN };

struct connection {
    int descriptor;
    enum state state;
    bool publishes;
    uint64_t sent_ns;
    size_t length; /* of what has come and is not understood */
    char *input;   /* FRAME_BYTES_MAX */
};

static struct connection connections[CONNECTIONS_MAX];
static size_t connection_count, subscriber_count, opened, delivered_in_round;
static bool is_broadcast;
static char message[MESSAGE_BYTES_MAX], frame[FRAME_BYTES_MAX];
static size_t message_bytes, frame_bytes;
static uint32_t samples_us[SAMPLES_MAX];
static size_t sample_count, request_count;
static uint64_t started_ns, finished_ns, deadline_ns, duration_ns;
static int epoll_descriptor;

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

/* A socket that has been empty takes a frame whole. */
static void send_all(struct connection *connection, const char *data, size_t length)
{
    ssize_t count = send(connection->descriptor, data, length, MSG_NOSIGNAL);
    if (count != (ssize_t)length)
        fail("send: %zd of %zu bytes, %s", count, length, strerror(errno));
}

static void message_send(struct connection *connection)
{
    connection->sent_ns = now_ns();
    send_all(connection, frame, frame_bytes);
}

static void sample_add(uint64_t since_ns)
{
    finished_ns = now_ns();
    if (sample_count < SAMPLES_MAX)
        samples_us[sample_count++] = (uint32_t)((finished_ns - since_ns) / 1000);
}

static void load_begin(void)
{
    started_ns = now_ns();
    deadline_ns = started_ns + duration_ns;
    for (size_t i = 0; i < connection_count; i++)
        if (connections[i].publishes || !is_broadcast)
            message_send(&connections[i]);
}

static bool is_over(void)
{
    return finished_ns >= deadline_ns;
}

static void on_message(struct connection *connection, const char *payload, size_t length)
{
    if (connection->state == GREETING) { /* subscribed */
        connection->state = OPEN;
        if (++opened == connection_count)
            load_begin();
        return;
    }
    if (connection->publishes) /* how many there were */
        return;
    if (length != message_bytes || memcmp(payload, message, length) != 0)
        fail("a message of %zu bytes came back as another one of %zu", message_bytes, length);
    request_count++;
    if (!is_broadcast) {
        sample_add(connection->sent_ns);
        if (!is_over())
            message_send(connection);
        return;
    }
    struct connection *publisher = &connections[connection_count - 1];
    if (++delivered_in_round == subscriber_count) {
        delivered_in_round = 0;
        sample_add(publisher->sent_ns);
        if (!is_over())
            message_send(publisher);
    }
}

/* Understands one frame, which must be a whole text message. Returns its length, 0 for a part. */
static size_t frame_take(struct connection *connection, const char *data, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)data;
    if (length < 2)
        return 0;
    if (bytes[0] == 0x89) { /* a ping: this run is too short to have to answer it */
        return length < 2u + bytes[1] ? 0 : 2u + bytes[1];
    }
    if (bytes[0] != 0x81)
        fail("a frame begins with 0x%02x", bytes[0]);
    size_t head = 2, size = bytes[1];
    if (size == 126) {
        head = 4;
        if (length < head)
            return 0;
        size = (size_t)bytes[2] << 8 | bytes[3];
    } else if (size > 126) {
        fail("a frame with length byte 0x%02x", bytes[1]);
    }
    if (length < head + size)
        return 0;
    on_message(connection, data + head, size);
    return head + size;
}

static size_t head_take(struct connection *connection, const char *data, size_t length)
{
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (length < 12 || memcmp(data, "HTTP/1.1 101", 12) != 0)
        fail("the answer is `%.*s`", (int)strcspn(data, "\r"), data);
    bool is_greeted = is_broadcast && !connection->publishes;
    connection->state = is_greeted ? GREETING : OPEN;
    if (!is_greeted && ++opened == connection_count)
        load_begin();
    return (size_t)(end - data) + 4;
}

static void on_readable(struct connection *connection)
{
    size_t room = FRAME_BYTES_MAX - connection->length;
    ssize_t count = recv(connection->descriptor, connection->input + connection->length, room, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0)
        fail("the connection ended after %zu messages", request_count);
    connection->length += (size_t)count;
    size_t understood = 0;
    while (understood < connection->length) {
        const char *data = connection->input + understood;
        size_t length = connection->length - understood;
        size_t taken = connection->state == HANDSHAKE ? head_take(connection, data, length)
                                                      : frame_take(connection, data, length);
        if (taken == 0)
            break;
        understood += taken;
    }
    connection->length -= understood;
    memmove(connection->input, connection->input + understood, connection->length);
}

static void connection_open(struct connection *connection, uint16_t port, const char *path)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char request[512];
    int on = 1;
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                          "Sec-WebSocket-Version: 13\r\n\r\n",
                          path);
    connection->input = malloc(FRAME_BYTES_MAX);
    connection->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!connection->input || connection->descriptor < 0 ||
        connect(connection->descriptor, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect: %s", strerror(errno));
    setsockopt(connection->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_descriptor, EPOLL_CTL_ADD, connection->descriptor, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
    send_all(connection, request, (size_t)length);
}

/* The one frame that is sent again and again, masked as a client's must be. */
static void frame_make(void)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char *bytes = (unsigned char *)frame;
    memset(message, 'x', message_bytes);
    bytes[frame_bytes++] = 0x81;
    if (message_bytes < 126) {
        bytes[frame_bytes++] = (unsigned char)(0x80 | message_bytes);
    } else {
        bytes[frame_bytes++] = 0x80 | 126;
        bytes[frame_bytes++] = (unsigned char)(message_bytes >> 8);
        bytes[frame_bytes++] = (unsigned char)message_bytes;
    }
    memcpy(bytes + frame_bytes, mask, sizeof mask);
    frame_bytes += sizeof mask;
    for (size_t i = 0; i < message_bytes; i++)
        bytes[frame_bytes++] = (unsigned char)message[i] ^ mask[i % 4];
}

static void run(void)
{
    while (started_ns == 0 || !is_over()) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(epoll_descriptor, events, EVENTS_MAX, STALL_MS);
        if (count == 0)
            fail("nothing moved for %d seconds", STALL_MS / 1000);
        for (int i = 0; i < count; i++)
            on_readable(events[i].data.ptr);
    }
}

static int sample_compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 7)
        fail("usage: websocket echo|broadcast PORT PATH CONNECTIONS SECONDS BYTES");
    is_broadcast = strcmp(arguments[1], "broadcast") == 0;
    uint16_t port = (uint16_t)atoi(arguments[2]);
    subscriber_count = connection_count = (size_t)atoi(arguments[4]);
    duration_ns = (uint64_t)(atof(arguments[5]) * 1e9);
    message_bytes = strtoull(arguments[6], NULL, 10);
    if (connection_count < 1 || connection_count >= CONNECTIONS_MAX)
        fail("between 1 and %d connections", CONNECTIONS_MAX - 1);
    if (message_bytes >= MESSAGE_BYTES_MAX)
        fail("less than %d bytes", MESSAGE_BYTES_MAX);
    frame_make();

    epoll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    char path[256];
    snprintf(path, sizeof path, is_broadcast ? "%s/subscribe" : "%s", arguments[3]);
    connection_count += is_broadcast;
    for (size_t i = 0; i < subscriber_count; i++)
        connection_open(&connections[i], port, path);
    if (is_broadcast) {
        snprintf(path, sizeof path, "%s/publish", arguments[3]);
        connections[subscriber_count].publishes = true;
        connection_open(&connections[subscriber_count], port, path);
    }
    run();

    qsort(samples_us, sample_count, sizeof *samples_us, sample_compare);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u}\n",
           request_count, (double)(finished_ns - started_ns) / 1e9, samples_us[sample_count / 2],
           samples_us[sample_count * 99 / 100]);
    return 0;
}
