/* Options, one sub-command each run, one line of JSON at the end.
 *
 *   load fanout --port P --pid SERVER --clients 1000 --window 32 --packet PACKET --expect PREFIX [...]
 *   load ack    --port P --pid SERVER --clients 100 --window 8 --seconds 8 --packet PACKET [--expect PREFIX]
 *   load idle   --port P --pid SERVER --clients 5000 --namespaces /chat,/system --hold 10
 *   load storm  --port P --pid REFUGE --clients 5000 --victim PID --refuge-port P --honest 20 --packet PACKET
 *
 * load.h says what each option means.
 */
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options options = {
    .path = "/socket.io/?EIO=4&transport=websocket", .namespaces = {"/chat"}, .namespace_count = 1, .clients = 100,
    .window = 1, .seconds = 8, .warm_up = 1, .messages = 1000000, .hold = 5,
};
struct client *clients;
int client_count;

static const struct option known[] = {
    {"port", required_argument, NULL, 'p'},     {"path", required_argument, NULL, 'P'},
    {"namespaces", required_argument, NULL, 'n'}, {"tokens", required_argument, NULL, 't'},
    {"clients", required_argument, NULL, 'c'},  {"pid", required_argument, NULL, 'i'},
    {"database-pid", required_argument, NULL, 'd'}, {"window", required_argument, NULL, 'w'},
    {"seconds", required_argument, NULL, 's'},  {"warm-up", required_argument, NULL, 'u'},
    {"messages", required_argument, NULL, 'm'}, {"slow", required_argument, NULL, 'z'},
    {"excluded", no_argument, NULL, 'x'},       {"packet", required_argument, NULL, 'k'},
    {"expect", required_argument, NULL, 'e'},   {"mark", required_argument, NULL, 'a'},
    {"hold", required_argument, NULL, 'h'},     {"publisher-port", required_argument, NULL, 'b'},
    {"victim", required_argument, NULL, 'v'},   {"refuge-port", required_argument, NULL, 'r'},
    {"honest", required_argument, NULL, 'o'},   {NULL, 0, NULL, 0},
};

static double number(const char *text, double least) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || value < least) die("%s is no number, or below %g", text, least);
    return value;
}

static void read_tokens(const char *path) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    if (file == NULL) die("%s cannot be read", path);
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        options.tokens = realloc(options.tokens, (size_t)(options.token_count + 1) * sizeof *options.tokens);
        options.tokens[options.token_count++] = strdup(line);
    }
    free(line);
    fclose(file);
    if (options.token_count == 0) die("%s has no tokens", path);
}

static void read_namespaces(char *list) {
    options.namespace_count = 0;
    for (char *name = strtok(list, ","); name != NULL; name = strtok(NULL, ",")) {
        if (options.namespace_count == NAMESPACES_MAX) die("more than %d namespaces", NAMESPACES_MAX);
        options.namespaces[options.namespace_count++] = name;
    }
}

static void read_option(int letter, char *value) {
    switch (letter) {
    case 'p': options.port = (int)number(value, 1); break;
    case 'v': options.victim = (int)number(value, 1); break;
    case 'r': options.refuge_port = (int)number(value, 1); break;
    case 'o': options.honest = (int)number(value, 1); break;
    case 'b': options.publisher_port = (int)number(value, 1); break;
    case 'P': options.path = value; break;
    case 'n': read_namespaces(value); break;
    case 't': read_tokens(value); break;
    case 'c': options.clients = (int)number(value, 1); break;
    case 'i': options.pid = (int)number(value, 1); break;
    case 'd': options.database_pid = (int)number(value, 1); break;
    case 'w': options.window = (int)number(value, 1); break;
    case 's': options.seconds = number(value, 0.1); break;
    case 'u': options.warm_up = number(value, 0); break;
    case 'm': options.messages = (long)number(value, 1); break;
    case 'z': options.slow = (int)number(value, 0); break;
    case 'x': options.excluded = true; break;
    case 'k': options.packet = value; break;
    case 'e': options.expect = value; break;
    case 'a': options.mark = value; break;
    case 'h': options.hold = number(value, 0.1); break;
    default: exit(2); /* getopt has said why */
    }
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    int letter;
    optind = 2;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) read_option(letter, optarg);
    if (options.port == 0 || options.pid == 0) die("--port and --pid say what to measure");
    client_count = options.clients + options.slow;
    clients = calloc((size_t)client_count, sizeof *clients);
    if (clients == NULL) die("no memory for %d clients", client_count);
    wire_start();
    if (strcmp(command, "fanout") == 0) {
        if (!options.packet || !options.expect) die("fanout needs --packet and --expect");
        fanout();
    } else if (strcmp(command, "ack") == 0) {
        if (!options.packet) die("ack needs --packet");
        ack();
    } else if (strcmp(command, "idle") == 0) {
        idle();
    } else if (strcmp(command, "storm") == 0) {
        if (!options.packet || !options.victim || !options.refuge_port || !options.honest)
            die("storm needs --packet, --victim, --refuge-port and --honest");
        storm();
    } else {
        die("load fanout|ack|idle|storm --port P --pid PID ...; main.c lists the options");
    }
    print_figures();
    return 0;
}
