/* What runs in the containers of tests: static, so that an image FROM scratch holds it alone.
 *
 *   guest serve [tcp:PORT | udp:PORT]...   answers on all of them until SIGTERM, then exits 0
 *   guest check                            exits 1 while the container is sick
 *   guest sicken | guest heal              changes that
 *
 * A TCP connection is told "guest" and closed; a UDP packet comes back as it is. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 32 };

_Noreturn static void leave(int signal) {
    (void)signal;
    _exit(0);
}

_Noreturn static void fail(const char *what) {
    perror(what);
    exit(2);
}

/* A socket of both families on this port, listening if it is TCP. */
static int open_port(const char *word, int *stream) {
    *stream = strncmp(word, "tcp:", 4) == 0;
    if (!*stream && strncmp(word, "udp:", 4) != 0) {
        fprintf(stderr, "%s: not tcp:PORT or udp:PORT\n", word);
        exit(2);
    }
    int port = atoi(word + 4), one = 1, zero = 0, type = *stream ? SOCK_STREAM : SOCK_DGRAM;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET6, type, 0);
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0) { /* a kernel, or a network, without IPv6 */
        fd = socket(AF_INET, type, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd < 0 || bind(fd, (struct sockaddr *)&any4, sizeof any4) < 0) fail(word);
    }
    if (*stream && listen(fd, 64) < 0) fail(word);
    return fd;
}

static void answer(int fd, int stream) {
    if (stream) {
        int peer = accept(fd, NULL, NULL);
        if (peer >= 0) {
            if (write(peer, "guest\n", 6) < 0) perror("write");
            close(peer);
        }
    } else {
        char packet[2048];
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        ssize_t size = recvfrom(fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &length);
        if (size >= 0) sendto(fd, packet, (size_t)size, 0, (struct sockaddr *)&from, length);
    }
}

_Noreturn static void serve(int count, char **words) {
    struct pollfd fds[MOST];
    int streams[MOST];
    if (count > MOST) count = MOST;
    for (int i = 0; i < count; i++) {
        fds[i].fd = open_port(words[i], &streams[i]);
        fds[i].events = POLLIN;
    }
    puts("serving");
    fflush(stdout);
    for (;;) {
        if (poll(fds, (nfds_t)count, -1) <= 0) continue;
        for (int i = 0; i < count; i++)
            if (fds[i].revents) answer(fds[i].fd, streams[i]);
    }
}

int main(int count, char **words) {
    /* Process 1 of a container gets no signal that it does not handle. */
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    signal(SIGPIPE, SIG_IGN);
    const char *command = count > 1 ? words[1] : "serve";
    if (strcmp(command, "serve") == 0) serve(count - 2 < 0 ? 0 : count - 2, words + 2);
    if (strcmp(command, "check") == 0) return access("/sick", F_OK) == 0;
    if (strcmp(command, "sicken") == 0) return open("/sick", O_CREAT | O_WRONLY, 0600) < 0;
    if (strcmp(command, "heal") == 0) return unlink("/sick") < 0;
    fprintf(stderr, "%s: not serve, check, sicken or heal\n", command);
    return 2;
}
