/* The floor for WebSocket: what `websocket_app.py` does, without any Python.
 *
 * In: `websocket_floor PORT`. One epoll loop on 127.0.0.1:PORT. `/echo` sends back whole text
 * messages, `/broadcast/publish` sends each to all of `/broadcast/subscribe`; any other GET gets
 * `Hello, world!`. It knows as much of the protocols as the load generator asks for: the one key
 * that it sends, frames of less than 64 KiB.
 *
 * The rule it keeps: no message is answered before it is whole, and every answer is one write.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DESCRIPTORS_MAX = 16 * 1024,
    INPUT_BYTES_MAX = 64 * 1024 + 14,
    EVENTS_MAX = 256,
};

enum kind { HTTP, ECHO, SUBSCRIBER, PUBLISHER };

struct connection {
    enum kind kind;
    size_t length;
    char *input;
};

static struct connection *connections[DESCRIPTORS_MAX];
static int subscribers[DESCRIPTORS_MAX];
static size_t subscriber_count;
static int epoll_descriptor;

static const char HELLO[] = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
                            "content-length: 13\r\n\r\nHello, world!";
static const char SWITCH[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void send_all(int descriptor, const void *data, size_t length)
{
    if (send(descriptor, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        shutdown(descriptor, SHUT_RDWR);
}

static void connection_close(int descriptor)
{
    for (size_t i = 0; i < subscriber_count; i++)
        if (subscribers[i] == descriptor)
            subscribers[i] = subscribers[--subscriber_count];
    free(connections[descriptor]->input);
    free(connections[descriptor]);
    connections[descriptor] = NULL;
    close(descriptor);
}

static size_t head_take(int descriptor, struct connection *connection, char *data, size_t length)
{
    char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (!memmem(data, length, "Upgrade: websocket", 18)) {
        send_all(descriptor, HELLO, sizeof HELLO - 1);
    } else {
        send_all(descriptor, SWITCH, sizeof SWITCH - 1);
        connection->kind = ECHO;
        if (strncmp(data, "GET /broadcast/publish", 22) == 0) {
            connection->kind = PUBLISHER;
        } else if (strncmp(data, "GET /broadcast/subscribe", 24) == 0) {
            connection->kind = SUBSCRIBER;
            subscribers[subscriber_count++] = descriptor;
            send_all(descriptor, "\x81\x0asubscribed", 12);
        }
    }
    return (size_t)(end - data) + 4;
}

/* Answers one masked text message of less than 64 KiB. Returns its length, 0 for a part. */
static size_t frame_take(int descriptor, struct connection *connection, char *data, size_t length)
{
    unsigned char *bytes = (unsigned char *)data;
    if (length < 6)
        return 0;
    if ((bytes[0] & 0x0f) != 1) { /* a close frame, most likely */
        shutdown(descriptor, SHUT_RDWR);
        return length;
    }
    size_t size = bytes[1] & 0x7f, head = 2;
    if (size == 126) {
        size = (size_t)bytes[2] << 8 | bytes[3];
        head = 4;
    }
    if (length < head + 4 + size)
        return 0;
    unsigned char *mask = bytes + head, *payload = mask + 4;
    for (size_t i = 0; i < size; i++)
        payload[i] ^= mask[i & 3];
    /* The head without its mask goes right before the payload. */
    memmove(payload - head, bytes, head);
    unsigned char *answer = payload - head;
    answer[1] &= 0x7f;
    if (connection->kind == PUBLISHER)
        for (size_t i = 0; i < subscriber_count; i++)
            send_all(subscribers[i], answer, head + size);
    else
        send_all(descriptor, answer, head + size);
    return head + 4 + size;
}

static void on_readable(int descriptor)
{
    struct connection *connection = connections[descriptor];
    ssize_t count = recv(descriptor, connection->input + connection->length,
                         INPUT_BYTES_MAX - connection->length, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        connection_close(descriptor);
        return;
    }
    connection->length += (size_t)count;
    size_t understood = 0;
    while (understood < connection->length) {
        char *data = connection->input + understood;
        size_t length = connection->length - understood;
        size_t taken = connection->kind == HTTP ? head_take(descriptor, connection, data, length)
                                                : frame_take(descriptor, connection, data, length);
        if (taken == 0)
            break;
        understood += taken;
    }
    connection->length -= understood;
    memmove(connection->input, connection->input + understood, connection->length);
}

static void accept_all(int listener)
{
    int descriptor, on = 1;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (descriptor >= DESCRIPTORS_MAX) {
            close(descriptor);
            continue;
        }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[descriptor] = calloc(1, sizeof **connections);
        connections[descriptor]->input = malloc(INPUT_BYTES_MAX);
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = descriptor};
        epoll_ctl(epoll_descriptor, EPOLL_CTL_ADD, descriptor, &event);
    }
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 2) {
        fprintf(stderr, "usage: websocket_floor PORT\n");
        return EXIT_FAILURE;
    }
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)atoi(arguments[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0) {
        perror("websocket_floor");
        return EXIT_FAILURE;
    }
    epoll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll_descriptor, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(epoll_descriptor, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(listener);
            else
                on_readable(events[i].data.fd);
        }
    }
}
