/* idle: a crowd that only answers pings, and then drops all at once.
 *
 * The drop's cost is counted until the server has nothing more to do than before anybody came.
 */
#include "load.h"

#include <sys/socket.h>
#include <unistd.h>

#define QUIET_CHECK_S 0.5
#define QUIET_CPU 0.04       /* of a core, above what it takes when nobody is there */
#define QUIET_TIMEOUT_S 600.0

static void take(struct client *client, const char *packet, size_t length) {
    (void)client, (void)packet, (void)length; /* they are told things (presence, ...) and do not care */
}

static double cpu_share_over(double seconds) {
    double cpu = cpu_seconds(options.pid), started = now();
    wire_run_for(seconds);
    return (cpu_seconds(options.pid) - cpu) / (now() - started);
}

void idle(void) {
    on_packet = take;
    double empty_share = cpu_share_over(1.0);
    join_all();

    loss_is_counted = true;
    figure("held_s", options.hold);
    figure("held_cpu_percent", cpu_share_over(options.hold) * 100);
    figure("lost", lost);
    figure("rss_mib", (double)rss_kib(options.pid) / 1024);

    double cpu = cpu_seconds(options.pid), started = now(), share;
    for (int i = 0; i < client_count; i++)
        if (clients[i].stage != ABSENT) close(clients[i].fd);
    do {
        share = cpu_share_over(QUIET_CHECK_S);
        if (now() - started > QUIET_TIMEOUT_S) die("the server is busy %.0f s after all have gone", QUIET_TIMEOUT_S);
    } while (share > empty_share + QUIET_CPU);
    double elapsed = now() - started;
    cpu = cpu_seconds(options.pid) - cpu - empty_share * elapsed;
    figure("drop_s", elapsed);
    figure("drop_cpu_us_per_client", cpu * 1e6 / client_count);
}
