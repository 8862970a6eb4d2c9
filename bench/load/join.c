/* Opening a crowd: WebSocket upgrade, Engine.IO's open packet, then CONNECT to every namespace at once.
 *
 * AT_ONCE clients are on their way at any moment, so connections/s is the server's rate and not the generator's.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 50
#define SILENCE_S 30.0
#define CLIENTS_PER_SOURCE 10000 /* an address has about 28,000 ports to connect from */

static int ready;
packet_handler *on_refused;

/* The root namespace is the one that is not named. */
void connect_to(struct client *client, int namespace) {
    static char packet[PACKET_MAX];
    const char *token = options.token_count ? options.tokens[client->index % options.token_count] : "none";
    const char *name = options.namespaces[namespace];
    bool root = strcmp(name, "/") == 0;
    int length = snprintf(packet, sizeof packet, "40%s%s{\"token\":\"%s\"}", root ? "" : name, root ? "" : ",", token);
    send_text(client, packet, (size_t)length);
}

static void connect_to_namespaces(struct client *client) {
    client->joins_left = options.namespace_count;
    client->stage = JOINING;
    for (int i = 0; i < options.namespace_count && client->stage == JOINING; i++) connect_to(client, i);
}

void join_packet(struct client *client, const char *packet, size_t length) {
    if (client->stage == OPENING && packet[0] == '0') {
        connect_to_namespaces(client);
    } else if (client->stage == JOINING && length >= 2 && packet[0] == '4' && packet[1] == '0') {
        if (--client->joins_left > 0) return;
        client->stage = READY;
        ready++;
        if (client->slow) wire_stop_reading(client);
    } else if (length >= 2 && packet[0] == '4' && packet[1] == '4') {
        if (on_refused) on_refused(client, packet, length);
        else die("client %d was refused: %.*s", client->index, (int)length, packet);
    } else if (client->stage != JOINING || packet[0] != '4') { /* events may come between two namespaces' answers */
        die("client %d got instead of its connection: %.*s", client->index, (int)length, packet);
    }
}

void connect_client(struct client *client) {
    char source[32];
    snprintf(source, sizeof source, "127.0.0.%d", 1 + client->index / CLIENTS_PER_SOURCE);
    wire_connect(client, client->slow, source);
}

void join_all(void) {
    long memory = rss_kib(options.pid);
    double cpu = cpu_seconds(options.pid), started = now(), progress = started;
    int opened = 0, ready_before = 0;
    loss_is_counted = false;
    while (ready < client_count) {
        while (opened < client_count && opened - ready < AT_ONCE) {
            struct client *client = &clients[opened];
            client->index = opened++;
            client->slow = client->index >= options.clients;
            if (client->index == 0 && options.publisher_port) client->port = options.publisher_port;
            if (client->index < options.honest) client->port = options.refuge_port;
            connect_client(client);
        }
        wire_turn(1000);
        if (ready > ready_before) progress = now();
        ready_before = ready;
        if (now() - progress > SILENCE_S)
            die("no client came in for %.0f s: %d of %d are connected", SILENCE_S, ready, client_count);
    }
    double elapsed = now() - started;
    figure("connections", client_count);
    figure("connections_per_s", client_count / elapsed);
    figure("cpu_us_per_connection", (cpu_seconds(options.pid) - cpu) * 1e6 / client_count);
    wire_run_for(1.0); /* whatever the server still has to do about them */
    figure("rss_kib_per_client", (double)(rss_kib(options.pid) - memory) / client_count);
}
