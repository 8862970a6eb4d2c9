/* The parts of the load generator.
 *
 *   main.c     options, one sub-command each run, one line of JSON at the end
 *   measure.c  clocks, another process's CPU and memory, percentiles, the JSON
 *   wire.c     sockets, WebSocket frames, the epoll loop
 *   join.c     opening a crowd of connections, up to "connected to every namespace"
 *   fanout.c   one publishes, everybody must get it
 *   ack.c      everybody keeps some acknowledged events in flight
 *   idle.c     everybody is just there, and then all leave at once
 *
 * It is one thread on purpose: it is pinned to the core that the measured server does not have, and a single epoll
 * loop that reads 64 KiB at a time takes in more frames than any server on one core can write. Whatever goes wrong
 * ends the run with a message and exit code 1: a figure measured over a broken promise is worse than none.
 */
#ifndef LOAD_H
#define LOAD_H
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAMESPACES_MAX 16
#define PACKET_MAX (64 * 1024) /* what we send; what we receive may be larger */

struct options {
    int port;
    int publisher_port;                      /* where the first client connects, when not to the same process */
    const char *path;                        /* of the WebSocket, with its query */
    const char *namespaces[NAMESPACES_MAX];  /* each connection joins all of them */
    int namespace_count;
    char **tokens;                           /* client i connects with tokens[i % token_count] */
    int token_count;
    int clients;
    int pid;                                 /* the measured server */
    int database_pid;                        /* its database, when there is one; else 0 */
    int window;
    double seconds;
    double warm_up;                          /* seconds before anything counts */
    long messages;                           /* fanout: at most so many */
    int slow;                                /* fanout: so many more clients who never read */
    bool excluded;                           /* fanout: the publisher does not get its own messages */
    const char *packet;                      /* what is published or sent; {n} and {client} are filled in */
    const char *expect;                      /* how a delivered message begins */
    const char *mark;                        /* what stands right before a delivered message's {n}; or NULL */
    double hold;                             /* idle: seconds */
    int victim;                              /* storm: the process that is killed */
    int refuge_port;                         /* storm: where everybody goes then */
    int honest;                              /* storm: so many clients are there already, and go on sending */
};
extern struct options options;

enum stage { ABSENT, CONNECTING, UPGRADING, OPENING, JOINING, READY };

struct client {
    int fd;
    int index;
    int port;              /* where it connects, when not to options.port */
    enum stage stage;
    bool slow;             /* does not read once READY */
    int joins_left;
    char *rest;            /* the beginning of a frame whose end has not arrived */
    size_t rest_length;
    long received;         /* fanout: messages so far, so also the number of the next */
};
extern struct client *clients;
extern int client_count;   /* slow ones included; they come last */

/* measure.c */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
double now(void);
double cpu_seconds(int pid);  /* user and system time of all its threads; 0 without a pid */
double own_cpu_seconds(void);
long rss_kib(int pid);
void latency_reset(void);
void latency_add(double seconds);
double latency_ms(double share);
void figure(const char *name, double value);
void print_figures(void);

/* wire.c */
typedef void packet_handler(struct client *client, const char *packet, size_t length);
extern packet_handler *on_packet;  /* a Socket.IO packet for a READY client */
extern void (*on_lost)(struct client *client);  /* told of a loss that is counted; or NULL */
extern bool loss_is_counted;       /* instead of fatal */
extern int lost;
extern double read_at;             /* when the packet in hand was read */
void wire_start(void);
void wire_connect(struct client *client, bool small_buffers, const char *source);
void wire_stop_reading(struct client *client);
void wire_turn(int timeout_ms);    /* waits for something and handles all there is */
void wire_run_for(double seconds);
void send_text(struct client *client, const char *text, size_t length);
size_t fill(char *out, size_t size, const char *template, long n, int client);

/* join.c */
void join_all(void);               /* returns when all are READY; adds the figures of it */
extern packet_handler *on_refused; /* a namespace was; fatal without */
void connect_to(struct client *client, int namespace);
void connect_client(struct client *client);
void join_packet(struct client *client, const char *packet, size_t length);

/* the sub-commands */
void fanout(void);
void ack(void);
void idle(void);
void storm(void);

#endif
