/* Clocks, another process's CPU and memory, percentiles, and the line of JSON at the end. */
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static double read_clock(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) die("a clock cannot be read: has the measured process ended?");
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

double now(void) { return read_clock(CLOCK_MONOTONIC); }

double own_cpu_seconds(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

/* The process's own CPU clock: the same sum as utime + stime of /proc/PID/stat, in nanoseconds instead of 10 ms. */
double cpu_seconds(int pid) {
    clockid_t clock;
    if (pid == 0) return 0;
    if (clock_getcpuclockid(pid, &clock) != 0) die("process %d has no CPU clock: has it ended?", pid);
    return read_clock(clock);
}

long rss_kib(int pid) {
    char path[64];
    long size = 0, resident = 0;
    if (pid == 0) return 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%ld %ld", &size, &resident) != 2) die("%s cannot be read", path);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A histogram instead of a list: millions of latencies in 60 KiB, each to within 0.8 %.
 * A value's bucket is its highest bit and the seven bits below that. */
#define SUB_BITS 7
#define SUB (1 << SUB_BITS)
static long histogram[64 * SUB];
static long latency_count;

static unsigned bucket_of(uint64_t nanoseconds) {
    if (nanoseconds < SUB) return (unsigned)nanoseconds;
    unsigned shift = 63 - SUB_BITS - (unsigned)__builtin_clzll(nanoseconds);
    return (shift + 1) * SUB + (unsigned)((nanoseconds >> shift) & (SUB - 1));
}

static double middle_of(unsigned bucket) {
    if (bucket < SUB) return bucket;
    unsigned shift = bucket / SUB - 1;
    return ((double)(SUB + bucket % SUB) + 0.5) * (double)(1ull << shift);
}

void latency_reset(void) {
    memset(histogram, 0, sizeof histogram);
    latency_count = 0;
}

void latency_add(double seconds) {
    histogram[bucket_of(seconds > 0 ? (uint64_t)(seconds * 1e9) : 0)]++;
    latency_count++;
}

double latency_ms(double share) {
    long wanted = (long)((double)latency_count * share), seen = 0;
    for (unsigned bucket = 0; bucket < sizeof histogram / sizeof *histogram; bucket++) {
        seen += histogram[bucket];
        if (seen > wanted || (seen == latency_count && seen > 0)) return middle_of(bucket) * 1e-6;
    }
    return 0;
}

static char figures[4096] = "{";

void figure(const char *name, double value) {
    size_t used = strlen(figures);
    snprintf(figures + used, sizeof figures - used, "%s\"%s\": %.10g", used > 1 ? ", " : "", name, value);
}

void print_figures(void) { printf("%s}\n", figures); }
