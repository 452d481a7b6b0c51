/* What holds a Pod's namespaces: it waits to be told to end, and buries the processes that others have left. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    sigset_t news;
    sigemptyset(&news);
    sigaddset(&news, SIGCHLD);
    sigaddset(&news, SIGINT);
    sigaddset(&news, SIGTERM);
    /* Blocked and waited for, none is ever missed: not even one that comes before we look. */
    sigprocmask(SIG_BLOCK, &news, NULL);
    for (;;) {
        int number = 0;
        if (sigwait(&news, &number) != 0) continue;
        if (number != SIGCHLD) return 0;
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}
