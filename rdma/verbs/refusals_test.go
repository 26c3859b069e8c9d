package verbs

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// Each refusal names what is wrong and what to do, without a device to refuse
// anything.
func TestRefusalsSayWhatToDo(t *testing.T) {
	cases := []struct {
		what string
		err  error
		is   []error
		says []string
	}{
		{"no permission", noAccess("mlx5_0", "/dev/infiniband/uverbs0", syscall.EACCES), []error{ErrDevice, fs.ErrPermission},
			[]string{"mlx5_0", "/dev/infiniband/uverbs0", "permission denied", "group rdma", "container"}},
		{"no permission, says the library", notOpened("mlx5_0", syscall.EPERM), []error{ErrDevice, fs.ErrPermission},
			[]string{"mlx5_0", "/dev/infiniband/uverbs", "group rdma"}},
		{"no provider library", notOpened("mlx5_0", syscall.EIO), []error{ErrDevice, syscall.EIO}, []string{"mlx5_0", "ibverbs-providers"}},
		{"locked memory", notRegistered(syscall.ENOMEM, 65536), []error{syscall.ENOMEM},
			[]string{"65536 bytes", "RLIMIT_MEMLOCK", "ulimit -l unlimited", "LimitMEMLOCK=infinity", "IPC_LOCK"}},
		{"locked memory, as some drivers say it", notRegistered(syscall.EAGAIN, 8<<20), []error{syscall.EAGAIN}, []string{"8388608 bytes", "IPC_LOCK"}},
		{"path MTU above the port's", checkPathMTU(4096, 1024, "rxe0", 1), []error{ErrDevice},
			[]string{"rxe0", "4096 bytes", "port 1 has 1024", "MTU of its interface"}},
		{"path MTU unlike the peer's", checkMTU(4096, 1024, 2), []error{ErrMTU}, []string{"4096 bytes here", "1024 at node 2", "all nodes the same"}},
	}
	for _, c := range cases {
		for _, is := range c.is {
			if !errors.Is(c.err, is) {
				t.Errorf("%s: %v is not %v", c.what, c.err, is)
			}
		}
		for _, s := range c.says {
			if c.err == nil || !strings.Contains(c.err.Error(), s) {
				t.Errorf("%s: %v; want %q in it", c.what, c.err, s)
			}
		}
	}
	// Where the limit is not to blame it is not blamed.
	for _, err := range []error{notRegistered(syscall.ENOMEM, unlimited), notRegistered(syscall.EOPNOTSUPP, 65536)} {
		if strings.Contains(err.Error(), "MEMLOCK") {
			t.Error(err)
		}
	}
	if err := checkPathMTU(1024, 1024, "rxe0", 1); err != nil {
		t.Error(err)
	}
	t.Logf("%d refusals", len(cases))
}
