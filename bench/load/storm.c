/* storm: a process is killed, and all of its clients come to another one at once, which has clients of its own.
 *
 * The lost come back as the JavaScript client does: after 0.5 to 1.5 s, and when that fails after up to 5 s. Where a
 * namespace is refused they wait as long as the refusal says, and it must say so. Those who are there already send one
 * message after the other with a pause in between, and their acknowledgements are what is measured.
 */
#include "load.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_S 0.1
#define TIMEOUT_S 120.0
#define NEVER 1e18

static double *come_back_at;          /* per client: when it connects again */
static double (*ask_again_at)[NAMESPACES_MAX];
static double *sent_at, *send_next_at; /* per honest client; sent_at 0: nothing is in flight */
static long acknowledged, refused_sends, refusals, failures, number;
static double longest_wait_s;

static double between(double low, double high) { return low + (high - low) * rand() / RAND_MAX; }

static void take(struct client *client, const char *packet, size_t length) {
    if (client->index >= options.honest || length < 2 || packet[0] != '4' || packet[1] != '3') return;
    if (memmem(packet, length, "\"ok\":false", 10)) refused_sends++;
    latency_add(read_at - sent_at[client->index]);
    acknowledged++;
    sent_at[client->index] = 0;
    send_next_at[client->index] = now() + PAUSE_S;
}

static void refused(struct client *client, const char *packet, size_t length) {
    const char *wait = memmem(packet, length, "\"retry_after_ms\":", 17);
    long wait_ms = wait ? strtol(wait + 17, NULL, 10) : 0;
    if (wait_ms <= 0) die("client %d was refused and not told when to try again: %.*s", client->index, (int)length, packet);
    refusals++;
    if (wait_ms / 1e3 > longest_wait_s) longest_wait_s = wait_ms / 1e3;
    for (int i = 0; i < options.namespace_count; i++) {
        size_t size = strlen(options.namespaces[i]);
        if (length > 2 + size && memcmp(packet + 2, options.namespaces[i], size) == 0 && packet[2 + size] == ',')
            ask_again_at[client->index][i] = now() + wait_ms / 1e3;
    }
}

static void gone(struct client *client) {
    if (client->index < options.honest) die("honest client %d lost its connection", client->index);
    if (client->port == options.refuge_port) failures++;
    come_back_at[client->index] = now() + (client->port == options.refuge_port ? between(1, 5) : between(0.5, 1.5));
    for (int i = 0; i < options.namespace_count; i++) ask_again_at[client->index][i] = NEVER;
    client->port = options.refuge_port;
}

static void send_what_is_due(void) {
    static char packet[PACKET_MAX];
    for (int i = 0; i < options.honest; i++) {
        if (sent_at[i] != 0 || now() < send_next_at[i]) continue;
        size_t length = fill(packet, sizeof packet, options.packet, number++, i);
        sent_at[i] = now();
        send_text(&clients[i], packet, length);
    }
}

static int still_away(void) {
    int away = 0;
    double at = now();
    for (int i = options.honest; i < client_count; i++) {
        struct client *client = &clients[i];
        away += client->stage != READY;
        if (client->stage == ABSENT && at >= come_back_at[i]) {
            come_back_at[i] = NEVER;
            connect_client(client);
        }
        for (int j = 0; client->stage == JOINING && j < options.namespace_count; j++)
            if (at >= ask_again_at[i][j]) {
                ask_again_at[i][j] = NEVER;
                connect_to(client, j);
            }
    }
    return away;
}

static void honest_for(double seconds) {
    for (double until = now() + seconds; now() < until; wire_turn(5)) send_what_is_due();
}

void storm(void) {
    come_back_at = malloc((size_t)client_count * sizeof *come_back_at);
    ask_again_at = malloc((size_t)client_count * sizeof *ask_again_at);
    sent_at = calloc((size_t)options.honest, sizeof *sent_at);
    send_next_at = calloc((size_t)options.honest, sizeof *send_next_at);
    for (int i = 0; i < client_count; i++) {
        come_back_at[i] = NEVER;
        for (int j = 0; j < NAMESPACES_MAX; j++) ask_again_at[i][j] = NEVER;
    }
    on_packet = take;
    on_refused = refused;
    join_all();
    honest_for(options.warm_up);
    latency_reset();
    honest_for(options.seconds);
    figure("calm_p50_ms", latency_ms(0.50));
    figure("calm_p99_ms", latency_ms(0.99));

    loss_is_counted = true;
    on_lost = gone;
    latency_reset();
    acknowledged = 0;
    kill(options.victim, SIGKILL);
    double killed_at = now(), cpu = cpu_seconds(options.pid);
    wire_run_for(0.1); /* the ends of their connections arrive */
    do {
        send_what_is_due();
        wire_turn(5);
        if (now() - killed_at > TIMEOUT_S) die("%d clients are still away after %.0f s", still_away(), TIMEOUT_S);
    } while (still_away());
    figure("back_s", now() - killed_at);
    figure("refuge_cpu_s", cpu_seconds(options.pid) - cpu);
    figure("sends", acknowledged);
    figure("sends_refused", refused_sends);
    figure("p50_ms", latency_ms(0.50));
    figure("p99_ms", latency_ms(0.99));
    figure("refusals", refusals);
    figure("longest_wait_s", longest_wait_s);
    figure("failed_connections", failures);
}
