/* ack: every client keeps `window` acknowledged events in flight for some seconds.
 *
 * With --expect, what the server tells the others about each event is counted too, and at the end every event must
 * have reached every other client exactly as often as it was acknowledged: once.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENCE_S 30.0
#define IN_FLIGHT_SLOTS_PER_WINDOW 16

/* Events in flight, by number modulo the size; a slot is free when its number is -1. */
struct in_flight {
    long number;
    double sent_at;
};
static struct in_flight *slots;
static long slot_count;
static long *next_number; /* per client */
static long sent, acknowledged, delivered;
static bool open;
static size_t expect_length;

static struct in_flight *slot_of(struct client *client, long number) {
    return &slots[client->index * slot_count + number % slot_count];
}

static void send_event(struct client *client) {
    static char packet[PACKET_MAX];
    long number = next_number[client->index]++;
    struct in_flight *slot = slot_of(client, number);
    if (slot->number != -1) die("event %ld of client %d is overtaken by all later ones", slot->number, client->index);
    size_t length = fill(packet, sizeof packet, options.packet, number, client->index);
    *slot = (struct in_flight){number, now()};
    sent++;
    send_text(client, packet, length);
}

static void take_ack(struct client *client, const char *packet, size_t length) {
    size_t at = 2;
    if (at < length && packet[at] == '/')
        while (at < length && packet[at++] != ',') {
        }
    long number = 0;
    for (; at < length && packet[at] >= '0' && packet[at] <= '9'; at++) number = number * 10 + (packet[at] - '0');
    struct in_flight *slot = slot_of(client, number);
    if (slot->number != number) die("client %d got an answer to nothing: %.*s", client->index, (int)length, packet);
    if (length - at >= 11 && memcmp(packet + at, "[{\"ok\":false", 11) == 0)
        die("an event was refused: %.*s", (int)length, packet);
    latency_add(read_at - slot->sent_at);
    slot->number = -1;
    acknowledged++;
    if (open) send_event(client);
}

static void take(struct client *client, const char *packet, size_t length) {
    if (length >= 2 && packet[0] == '4' && packet[1] == '3') take_ack(client, packet, length);
    else if (expect_length && length >= expect_length && !memcmp(packet, options.expect, expect_length)) delivered++;
}

static void drain(void) {
    long expected = 0, before = -1;
    double progress = now();
    open = false;
    do {
        wire_turn(100);
        if (acknowledged + delivered > before) progress = now();
        before = acknowledged + delivered;
        expected = expect_length ? acknowledged * (client_count - 1) : delivered;
    } while ((acknowledged < sent || delivered < expected) && now() - progress < SILENCE_S);
    if (acknowledged < sent) die("%ld of %ld events were never acknowledged", sent - acknowledged, sent);
    wire_run_for(0.2); /* and nothing comes twice */
    if (delivered != expected)
        die("%ld deliveries of %ld acknowledged events, not %ld", delivered, acknowledged, expected);
}

void ack(void) {
    slot_count = (long)options.window * IN_FLIGHT_SLOTS_PER_WINDOW;
    slots = malloc((size_t)(client_count * slot_count) * sizeof *slots);
    for (long i = 0; i < client_count * slot_count; i++) slots[i].number = -1;
    next_number = calloc((size_t)client_count, sizeof *next_number);
    expect_length = options.expect ? strlen(options.expect) : 0;
    on_packet = take;
    join_all();
    open = true;
    for (int window = 0; window < options.window; window++)
        for (int i = 0; i < client_count; i++) send_event(&clients[i]);
    wire_run_for(options.warm_up);

    long acknowledged_before = acknowledged, delivered_before = delivered;
    latency_reset();
    double started = now(), cpu = cpu_seconds(options.pid), own = own_cpu_seconds();
    double database = cpu_seconds(options.database_pid);
    wire_run_for(options.seconds);
    double elapsed = now() - started, events = (double)(acknowledged - acknowledged_before);
    cpu = cpu_seconds(options.pid) - cpu;
    if (events == 0) die("nothing was acknowledged in %.0f s", options.seconds);

    figure("acknowledged", events);
    figure("acknowledged_per_s", events / elapsed);
    figure("deliveries_per_s", (double)(delivered - delivered_before) / elapsed);
    figure("cpu_us_per_event", cpu * 1e6 / events);
    figure("database_cpu_us_per_event", (cpu_seconds(options.database_pid) - database) * 1e6 / events);
    figure("server_cpu_percent", cpu / elapsed * 100);
    figure("generator_cpu_percent", (own_cpu_seconds() - own) / elapsed * 100);
    figure("p50_ms", latency_ms(0.50));
    figure("p99_ms", latency_ms(0.99));
    drain();
}
