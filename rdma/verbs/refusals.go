package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// What a device refuses, in words that say what to do. Pure, so that it is
// tested where there is no device.

// noAccess is a device file that this process may not read and write.
func noAccess(device, file string, err error) error {
	return fmt.Errorf("%w %s: %s: %w; run as a user who may read and write it (group rdma), or in a container give it the device", ErrDevice, device, file, err)
}

// notOpened is a device that libibverbs does not open.
func notOpened(device string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return noAccess(device, "/dev/infiniband/uverbs*", err)
	}
	return fmt.Errorf("%w %s: %w; is the library of its driver installed (ibverbs-providers)?", ErrDevice, device, err)
}

// unlimited is RLIMIT_MEMLOCK without a limit (RLIM_INFINITY).
const unlimited = ^uint64(0)

// notRegistered is memory that could not be registered while locked memory was
// limited to so many bytes.
func notRegistered(err error, limit uint64) error {
	if limit != unlimited && (errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EAGAIN)) {
		return fmt.Errorf("verbs: %w: locked memory is limited to %d bytes (RLIMIT_MEMLOCK); raise it: ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, or the capability IPC_LOCK", err, limit)
	}
	return fmt.Errorf("verbs: %w", err)
}

// checkPathMTU compares the path MTU that is asked for with the port's.
func checkPathMTU(want, active int, device string, port int) error {
	if want > active {
		return fmt.Errorf("%w %s: path MTU of %d bytes, port %d has %d; raise the MTU of its interface, or ask for less", ErrDevice, device, want, port, active)
	}
	return nil
}
