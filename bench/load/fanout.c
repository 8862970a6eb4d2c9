/* fanout: the first client publishes numbered messages, every other one must get each exactly once and in order.
 *
 * A closed loop: the next is published as soon as fewer than `window` times all receivers' deliveries are outstanding;
 * so a single straggler does not stop the others, and at window 1 the next message overlaps the end of the last.
 * Publishing ends after --messages or --seconds, whichever comes first, and the run when everything has arrived.
 * Messages of the warm-up are checked but not counted.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENCE_S 30.0

static double *sent_at;
static long published, counted_from; /* numbers of messages */
static long delivered;
static size_t expect_length, mark_length;

/* The number right behind the mark. It is looked for where the last one was: messages differ little in length. */
static long number_in(const char *packet, size_t length) {
    static size_t last;
    if (last + mark_length >= length || memcmp(packet + last, options.mark, mark_length) != 0) {
        const char *found = memmem(packet, length, options.mark, mark_length);
        if (found == NULL) die("a message without %s: %.*s", options.mark, (int)length, packet);
        last = (size_t)(found - packet);
    }
    long number = 0;
    for (size_t i = last + mark_length; i < length && packet[i] >= '0' && packet[i] <= '9'; i++)
        number = number * 10 + (packet[i] - '0');
    return number;
}

static void take(struct client *client, const char *packet, size_t length) {
    if (length >= 2 && packet[0] == '4' && packet[1] == '3') { /* the publisher's acknowledgement */
        if (memmem(packet, length, "\"ok\":false", 10)) die("a message was refused: %.*s", (int)length, packet);
        return;
    }
    if (length < expect_length || memcmp(packet, options.expect, expect_length) != 0) return;
    if (options.excluded && client->index == 0) die("the publisher got its own: %.*s", (int)length, packet);
    long number = client->received++;
    if (number >= published) die("client %d got one message too many: %.*s", client->index, (int)length, packet);
    if (options.mark && number_in(packet, length) != number)
        die("client %d should get message %ld and got %.*s", client->index, number, (int)length, packet);
    delivered++;
    if (number >= counted_from) latency_add(read_at - sent_at[number]);
}

static void publish(void) {
    static char packet[PACKET_MAX];
    size_t length = fill(packet, sizeof packet, options.packet, published, 0);
    sent_at[published++] = now();
    send_text(&clients[0], packet, length);
}

/* Publishes until `seconds` or all messages are over, and returns when everything published has arrived. */
static void run_until(double seconds) {
    long receivers = options.clients - (options.excluded ? 1 : 0), delivered_before = -1;
    double stop = now() + seconds, progress = now();
    while (true) {
        bool open = published < options.messages && now() < stop;
        while (open && published * receivers - delivered < options.window * receivers) {
            publish();
            open = published < options.messages;
        }
        if (!open && delivered == published * receivers) return;
        wire_turn(100);
        if (delivered > delivered_before) progress = now();
        delivered_before = delivered;
        if (now() - progress > SILENCE_S)
            die("nothing arrived for %.0f s: %ld of %ld deliveries are missing", SILENCE_S,
                published * receivers - delivered, published * receivers);
    }
}

void fanout(void) {
    expect_length = strlen(options.expect);
    mark_length = options.mark ? strlen(options.mark) : 0;
    sent_at = calloc((size_t)options.messages, sizeof *sent_at);
    on_packet = take;
    join_all();
    run_until(options.warm_up);
    if (published == options.messages) die("the warm-up took all %ld messages", options.messages);

    long first = published, delivered_before = delivered, memory = rss_kib(options.pid);
    counted_from = published;
    latency_reset();
    double started = now(), cpu = cpu_seconds(options.pid), own = own_cpu_seconds();
    double database = cpu_seconds(options.database_pid);
    run_until(options.seconds);
    double elapsed = now() - started;
    double deliveries = (double)(delivered - delivered_before), messages = (double)(published - first);
    cpu = cpu_seconds(options.pid) - cpu;

    figure("messages", messages);
    figure("messages_per_s", messages / elapsed);
    figure("deliveries", deliveries);
    figure("deliveries_per_s", deliveries / elapsed);
    figure("cpu_us_per_delivery", cpu * 1e6 / deliveries);
    figure("database_cpu_us_per_message", (cpu_seconds(options.database_pid) - database) * 1e6 / messages);
    figure("server_cpu_percent", cpu / elapsed * 100);
    figure("generator_cpu_percent", (own_cpu_seconds() - own) / elapsed * 100);
    figure("p50_ms", latency_ms(0.50));
    figure("p99_ms", latency_ms(0.99));
    figure("rss_growth_kib", (double)(rss_kib(options.pid) - memory));
    figure("slow_dropped", lost);
}
