/* A library with the symbols of NVIDIA's libnvidia-ml that dsmil-probe calls, for the drills.
 *
 * What it plays is the first line of the file that $NVML_FACE names, read at each call, so that a drill can change it under a running
 * probe: "healthy N" (so many GPUs), "idle" (one that does nothing), "mig", "lost I" (the GPU of that number), "reset I", "storm I" (it takes
 * its time to say that it has to be reset), "ailing I" (it is hot, and counts errors), "hung" (a call never returns), "crash", "no-driver",
 * "mismatch", "denied". Signatures and numbers are those of the "NVML API Reference"; nothing else is NVIDIA's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7, NO_DRIVER = 9, LOST = 15,
       RESET = 16, MISMATCH = 18 };

typedef struct card { int index; int is_instance; } *device_t;
static struct card cards[64];
static struct card instances[2] = { { 0, 1 }, { 1, 1 } };

/* What is played, and its number. */
static const char *face(int *number)
{
    static char line[64];
    const char *path = getenv("NVML_FACE");
    FILE *file = path ? fopen(path, "r") : NULL;
    *number = 1;
    strcpy(line, "healthy");
    if (file) {
        if (fscanf(file, "%31s %d", line, number) < 1)
            strcpy(line, "healthy");
        fclose(file);
    }
    return line;
}

static int is(const char *what)
{
    int number;
    return strcmp(face(&number), what) == 0;
}

/* How a call about a card ends, or never. */
static int call(device_t device)
{
    int number;
    const char *plays = face(&number);
    if (strcmp(plays, "hung") == 0)
        for (;;)
            pause();
    if (strcmp(plays, "crash") == 0)
        abort();
    if (device && !device->is_instance && device->index == number) {
        if (strcmp(plays, "lost") == 0)
            return LOST;
        if (strcmp(plays, "reset") == 0)
            return RESET;
        if (strcmp(plays, "storm") == 0) {
            usleep(300000);
            return RESET;
        }
    }
    return SUCCESS;
}

/* Whether a card is hot and counts errors. */
static int ails(device_t device)
{
    int number;
    return strcmp(face(&number), "ailing") == 0 && device->index == number;
}

#define CALL(device) do { int ended = call(device); if (ended != SUCCESS) return ended; } while (0)

int nvmlInit_v2(void)
{
    if (is("no-driver"))
        return NO_DRIVER;
    if (is("mismatch"))
        return MISMATCH;
    if (is("denied"))
        return NO_PERMISSION;
    for (int i = 0; i < 64; i++)
        cards[i].index = i;
    return SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    snprintf(version, length, "535.104.05");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    int number;
    const char *plays = face(&number);
    CALL(NULL);
    /* Who plays one that is in trouble has four. */
    *count = strcmp(plays, "healthy") == 0 ? (unsigned)number : is("mig") || is("idle") ? 1 : 4;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device)
{
    *device = &cards[index];
    return call(*device);
}

struct pci { char legacy[16]; unsigned domain, bus, device, ids, subsystem; char bus_id[32]; };

int nvmlDeviceGetPciInfo_v3(device_t device, struct pci *pci)
{
    CALL(device);
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned)device->index + 1;
    pci->ids = 0x233510de;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}

int nvmlDeviceGetUUID(device_t device, char *uuid, unsigned length)
{
    CALL(device);
    snprintf(uuid, length, "%s-%08d-0000-0000-0000-000000000000", device->is_instance ? "MIG" : "GPU", device->index);
    return SUCCESS;
}

int nvmlDeviceGetName(device_t device, char *name, unsigned length)
{
    CALL(device);
    snprintf(name, length, device->is_instance ? "NVIDIA Drill 40GB MIG 1g.5gb" : "NVIDIA Drill 40GB");
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(device_t device, unsigned *minor)
{
    CALL(device);
    *minor = (unsigned)device->index;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(device_t device, unsigned which, unsigned *mhz)
{
    CALL(device);
    *mhz = which == 1 ? 1410 : 1215;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(device_t device, unsigned sensor, unsigned *celsius)
{
    (void)sensor;
    CALL(device);
    *celsius = ails(device) ? 91 : 40 + (unsigned)device->index;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(device_t device, unsigned *milliwatts)
{
    CALL(device);
    *milliwatts = 61250;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(device_t device, unsigned *milliwatts)
{
    CALL(device);
    *milliwatts = 400000;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(device_t device, unsigned long long *millijoules)
{
    CALL(device);
    *millijoules = 123456789012ULL;
    return SUCCESS;
}

struct utilization { unsigned gpu, memory; };

int nvmlDeviceGetUtilizationRates(device_t device, struct utilization *rates)
{
    CALL(device);
    rates->gpu = is("idle") ? 0 : 97;
    rates->memory = is("idle") ? 0 : 31;
    return SUCCESS;
}

/* The first card has no encoder. */
int nvmlDeviceGetEncoderUtilization(device_t device, unsigned *use, unsigned *period)
{
    CALL(device);
    if (device->index == 0)
        return NOT_SUPPORTED;
    *use = 7;
    *period = 1000;
    return SUCCESS;
}

int nvmlDeviceGetDecoderUtilization(device_t device, unsigned *use, unsigned *period)
{
    CALL(device);
    *use = 5;
    *period = 1000;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device_t device, unsigned long long *reasons)
{
    CALL(device);
    *reasons = 4;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device_t device, unsigned *count, void *processes)
{
    (void)processes;
    CALL(device);
    *count = is("idle") ? 0 : 3;
    return *count ? TOO_SMALL : SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(device_t device, unsigned *count, void *processes)
{
    (void)processes;
    CALL(device);
    *count = 0;
    return SUCCESS;
}

struct memory { unsigned version; unsigned long long total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(device_t device, struct memory *memory)
{
    const unsigned long long mib = 1ULL << 20;
    CALL(device);
    memory->total = (device->is_instance ? 4864 : 40960) * mib;
    memory->reserved = 512 * mib;
    memory->used = 1024 * mib;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

union value { double d; unsigned ui; unsigned long ul; unsigned long long ull; };
struct field { unsigned id, scope; long long timestamp, latency; unsigned type; int ended; union value value; };

int nvmlDeviceGetFieldValues(device_t device, int count, struct field *fields)
{
    static unsigned long long errors;
    CALL(device);
    if (ails(device))
        errors++;
    for (int i = 0; i < count; i++) {
        fields[i].ended = SUCCESS;
        fields[i].type = 3; /* unsigned long long */
        fields[i].value.ull = 0;
        switch (fields[i].id) {
        case 82: /* memory temperature, an unsigned int */
            fields[i].type = 1;
            fields[i].value.ui = 38;
            break;
        case 4: case 38: /* double-bit errors, NVLink's checksums that were wrong */
            fields[i].value.ull = fields[i].id + (ails(device) ? errors : 0);
            break;
        case 3: case 5: case 6: case 29: case 30: case 45: case 52: case 59: case 66: case 94: case 142: case 143:
            fields[i].value.ull = fields[i].id;
            break;
        case 31: case 75: case 76: case 77: case 78: case 79: case 144: case 145: /* pending and failed repairs, other limits: none */
            break;
        case 74: /* nanoseconds of the power limit */
            fields[i].value.ull = 5000000000ULL;
            break;
        default:
            fields[i].ended = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending)
{
    CALL(device);
    *current = *pending = (unsigned)is("mig");
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *count)
{
    CALL(device);
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t device, unsigned index, device_t *instance)
{
    CALL(device);
    if (index >= 2)
        return NOT_FOUND;
    *instance = &instances[index];
    return SUCCESS;
}
