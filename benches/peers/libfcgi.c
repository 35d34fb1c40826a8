/* The peer on libfcgi: libfcgi ADDRESS THREADS. Each thread accepts a connection and serves it until it ends. */
#include <fcgiapp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_LEN 65536
/* Byte i of /bytes is i mod 251. */
#define PERIOD 251

static const char HEAD[] = "Content-Type: text/plain\r\n\r\n";
static const char HELLO[] = "Content-Type: text/plain\r\n\r\nhello, world\n";
static char periods[PERIOD + BUFFER_LEN];
static int listening_socket;

static void put_count(FCGX_Request *request)
{
    char buffer[BUFFER_LEN];
    long length = 0;
    int n;
    while ((n = FCGX_GetStr(buffer, sizeof buffer, request->in)) > 0)
        length += n;
    FCGX_FPrintF(request->out, "%s%ld\n", HEAD, length);
}

static void put_bytes(FCGX_Request *request, long length)
{
    long position = 0;
    FCGX_PutStr(HEAD, sizeof HEAD - 1, request->out);
    while (position < length) {
        int n = length - position < BUFFER_LEN ? (int)(length - position) : BUFFER_LEN;
        FCGX_PutStr(periods + position % PERIOD, n, request->out);
        position += n;
    }
}

static void answer(FCGX_Request *request)
{
    const char *path = FCGX_GetParam("SCRIPT_NAME", request->envp);
    const char *query = FCGX_GetParam("QUERY_STRING", request->envp);
    if (path && strcmp(path, "/count") == 0)
        put_count(request);
    else if (path && query && strcmp(path, "/bytes") == 0 && strncmp(query, "n=", 2) == 0)
        put_bytes(request, atol(query + 2));
    else
        FCGX_PutStr(HELLO, sizeof HELLO - 1, request->out);
}

static void *serve(void *unused)
{
    FCGX_Request request;
    FCGX_InitRequest(&request, listening_socket, 0);
    while (FCGX_Accept_r(&request) >= 0) {
        answer(&request);
        FCGX_Finish_r(&request);
    }
    return unused;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: libfcgi unix:/path|host:port THREADS\n");
        return 2;
    }
    for (int i = 0; i < (int)sizeof periods; i++)
        periods[i] = (char)(i % PERIOD);
    const char *address = strncmp(argv[1], "unix:", 5) == 0 ? argv[1] + 5 : strrchr(argv[1], ':');
    FCGX_Init();
    listening_socket = FCGX_OpenSocket(address, 4096);
    if (listening_socket < 0) {
        perror("libfcgi: listening");
        return 1;
    }
    for (int i = 1; i < atoi(argv[2]); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL) != 0) {
            perror("libfcgi: starting a thread");
            return 1;
        }
    }
    serve(NULL);
    return 0;
}
