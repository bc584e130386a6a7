/*
 * Preloaded into QEMU's tools. Before they make a LUKS image they measure, in time of the processor, how many
 * rounds of a hash fit into a second: twice for each image, about a second each, whatever iter-time is. A
 * thread that is told of a hundred times what it has used believes the first of its measurements, and takes
 * the fewest rounds. All else about the image stays as it is.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int getrusage(int who, struct rusage *usage)
{
    long result = syscall(SYS_getrusage, who, usage);
    if (result == 0 && who == RUSAGE_THREAD) {
        long long used = (usage->ru_utime.tv_sec * 1000000LL + usage->ru_utime.tv_usec) * 100;
        usage->ru_utime.tv_sec = used / 1000000;
        usage->ru_utime.tv_usec = used % 1000000;
    }
    return (int)result;
}
