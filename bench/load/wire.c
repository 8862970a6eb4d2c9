/* Sockets, WebSocket frames and the epoll loop.
 *
 * All clients share one read buffer: what was read is parsed at once, and only an unfinished frame is kept with its
 * client. So ten thousand clients need no buffers of their own, and the bytes being parsed stay in the CPU's cache.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_AT_ONCE (64 * 1024)
#define FRAME_MAX (1024 * 1024)
#define EVENTS_AT_ONCE 1024
#define SEND_TIMEOUT_MS 10000
#define OP_TEXT 1
#define OP_CLOSE 8
#define OP_PING 9
#define OP_PONG 10

packet_handler *on_packet;
void (*on_lost)(struct client *client);
bool loss_is_counted;
int lost;
double read_at;
static int epoll;
static char buffer[FRAME_MAX + READ_AT_ONCE];

void wire_start(void) {
    epoll = epoll_create1(0);
    if (epoll < 0) die("no epoll: %s", strerror(errno));
}

/* The connection has ended and we did not end it. */
static void lose(struct client *client, const char *why, const char *text, size_t length) {
    if (!loss_is_counted && !client->slow)
        die("client %d of %d lost its connection: %s %.*s", client->index, client_count, why, (int)length, text);
    close(client->fd);
    client->stage = ABSENT;
    lost++;
    if (on_lost) on_lost(client);
}

static void send_all(struct client *client, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(client->fd, bytes, length, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {.fd = client->fd, .events = POLLOUT};
            if (poll(&writable, 1, SEND_TIMEOUT_MS) == 0) die("the server reads nothing from client %d", client->index);
        } else {
            lose(client, strerror(errno), "", 0);
            return;
        }
    }
}

/* A client's frame must be masked; a mask of zeros leaves the payload as it is. */
static void send_frame(struct client *client, int opcode, const char *payload, size_t length) {
    static char frame[PACKET_MAX + 16];
    size_t head = 2;
    if (length > PACKET_MAX - 1) die("a packet of %zu bytes is too long", length);
    frame[0] = (char)(0x80 | opcode);
    if (length < 126) {
        frame[1] = (char)(0x80 | length);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = (char)(length >> 8);
        frame[3] = (char)(length & 255);
        head = 4;
    }
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, payload, length);
    send_all(client, frame, head + 4 + length);
}

void send_text(struct client *client, const char *text, size_t length) { send_frame(client, OP_TEXT, text, length); }

/* Copies a template with every {n} and {client} replaced by its number; returns the length. */
size_t fill(char *out, size_t size, const char *template, long n, int client) {
    size_t used = 0;
    for (const char *at = template; *at != '\0';) {
        if (used + 24 > size) die("a packet is longer than %zu bytes", size);
        if (strncmp(at, "{n}", 3) == 0) {
            used += (size_t)sprintf(out + used, "%ld", n);
            at += 3;
        } else if (strncmp(at, "{client}", 8) == 0) {
            used += (size_t)sprintf(out + used, "%d", client);
            at += 8;
        } else {
            out[used++] = *at++;
        }
    }
    out[used] = '\0';
    return used;
}

static void ask_for_upgrade(struct client *client) {
    char request[1024];
    int length = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", options.path, options.port);
    send_all(client, request, (size_t)length);
}

/* Connects and asks for the upgrade. A client with small buffers makes the server's side fill early, as a phone on a
 * bad line does: loopback's huge segments would else give it megabytes of room in the kernel. */
void wire_connect(struct client *client, bool small_buffers, const char *source) {
    int port = client->port ? client->port : options.port;
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in own = {.sin_family = AF_INET};
    int yes = 1, segment = 536, receive = 4096;
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (client->fd < 0) die("no socket for client %d: %s (ulimit -n?)", client->index, strerror(errno));
    if (small_buffers) {
        setsockopt(client->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
        setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
    }
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    inet_pton(AF_INET, source, &own.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
    if (bind(client->fd, (struct sockaddr *)&own, sizeof own) != 0) die("no address %s: %s", source, strerror(errno));
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    client->stage = UPGRADING;
    client->rest_length = 0;
    bool later = connect(client->fd, (struct sockaddr *)&server, sizeof server) != 0;
    if (later && errno != EINPROGRESS) {
        lose(client, "it cannot connect", strerror(errno), strlen(strerror(errno)));
        return;
    }
    struct epoll_event event = {.events = later ? EPOLLOUT : EPOLLIN, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) != 0) die("epoll: %s", strerror(errno));
    if (later) client->stage = CONNECTING; /* the server is behind with accepting */
    else ask_for_upgrade(client);
}

static void connected(struct client *client) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        lose(client, "it cannot connect", strerror(error), strlen(strerror(error)));
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
    client->stage = UPGRADING;
    ask_for_upgrade(client);
}

/* From now on only a reset is noticed: the kernel reports that unasked. */
void wire_stop_reading(struct client *client) {
    struct epoll_event event = {.events = 0, .data.ptr = client};
    epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
}

/* One Engine.IO packet: pings are answered here, everything else is somebody else's. */
static void take_packet(struct client *client, const char *packet, size_t length) {
    if (length == 1 && packet[0] == '2') {
        send_text(client, "3", 1);
    } else if (client->stage != READY) {
        join_packet(client, packet, length);
    } else if (packet[0] == '1' || (length >= 2 && packet[0] == '4' && (packet[1] == '1' || packet[1] == '4'))) {
        lose(client, "the server said", packet, length);
    } else {
        on_packet(client, packet, length);
    }
}

static void take_frame(struct client *client, int first, const char *payload, size_t length) {
    switch (first) {
    case 0x80 | OP_TEXT:
        if (length > 0) take_packet(client, payload, length);
        break;
    case 0x80 | OP_PING:
        send_frame(client, OP_PONG, payload, length);
        break;
    case 0x80 | OP_PONG:
        break;
    case 0x80 | OP_CLOSE: {
        char why[64] = "a close frame without a code";
        unsigned code = length >= 2 ? (unsigned)(uint8_t)payload[0] << 8 | (uint8_t)payload[1] : 0;
        if (code) snprintf(why, sizeof why, "closed with code %u", code);
        lose(client, why, payload + 2, length > 2 ? length - 2 : 0);
        break;
    }
    default:
        die("client %d got a frame it does not know, first byte 0x%02x", client->index, first);
    }
}

/* The answer to the upgrade; returns how many bytes it had, 0 if its end has not arrived. */
static size_t take_upgrade(struct client *client, const char *bytes, size_t length) {
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    if (memmem(bytes, 16 < length ? 16 : length, " 101 ", 5) == NULL)
        die("client %d was refused the upgrade: %.*s", client->index, (int)length, bytes);
    client->stage = OPENING;
    return (size_t)(end + 4 - bytes);
}

/* Handles all whole frames; returns how many bytes they had. */
static size_t parse(struct client *client, const char *bytes, size_t length) {
    size_t at = 0;
    if (client->stage == UPGRADING && (at = take_upgrade(client, bytes, length)) == 0) return 0;
    while (length - at >= 2 && client->stage != ABSENT && !(client->slow && client->stage == READY)) {
        const uint8_t *head = (const uint8_t *)bytes + at;
        size_t payload = head[1] & 127, head_length = 2;
        if (payload == 126) {
            if (length - at < 4) break;
            payload = (size_t)head[2] << 8 | head[3];
            head_length = 4;
        } else if (payload == 127) {
            if (length - at < 10) break;
            payload = 0;
            for (int i = 2; i < 10; i++) payload = payload << 8 | head[i];
            head_length = 10;
        }
        if (payload > FRAME_MAX - 16) die("client %d got a frame of %zu bytes", client->index, payload);
        if (length - at < head_length + payload) break;
        take_frame(client, head[0], bytes + at + head_length, payload);
        at += head_length + payload;
    }
    return at;
}

static void read_some(struct client *client) {
    size_t kept = client->rest_length;
    if (kept > 0) memcpy(buffer, client->rest, kept);
    ssize_t got = recv(client->fd, buffer + kept, READ_AT_ONCE, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        lose(client, got == 0 ? "end of stream" : strerror(errno), "", 0);
        return;
    }
    read_at = now();
    size_t length = kept + (size_t)got, used = parse(client, buffer, length);
    if (used == length && kept == 0) return;
    client->rest_length = length - used;
    if (client->rest_length > 0) {
        client->rest = realloc(client->rest, client->rest_length);
        memcpy(client->rest, buffer + used, client->rest_length);
    }
}

void wire_turn(int timeout_ms) {
    static struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(epoll, events, EVENTS_AT_ONCE, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        if (client->stage == ABSENT) continue;
        if (client->stage == CONNECTING) connected(client);
        else if (client->slow && client->stage == READY) lose(client, "reset", "", 0);
        else read_some(client);
    }
}

void wire_run_for(double seconds) {
    double until = now() + seconds;
    for (double left = seconds; left > 0; left = until - now()) wire_turn((int)(left * 1000) + 1);
}
