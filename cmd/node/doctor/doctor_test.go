package doctor

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"healkv/pmem"
	"healkv/rdma"
)

// testbed is a host that has everything: two devices, RoCEv2, locked memory,
// huge pages, a DAX mount.
func testbed() (*Host, fstest.MapFS) {
	files := fstest.MapFS{}
	for path, text := range map[string]string{
		"proc/sys/kernel/osrelease":                             "6.8.0-45-generic",
		"proc/sys/kernel/unprivileged_bpf_disabled":             "2",
		"proc/self/status":                                      "Name:\tnode\nCapEff:\t0000018000000000\n", // PERFMON, BPF
		"proc/self/mountinfo":                                   "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n35 22 259:0 / /mnt/pmem0 rw,relatime shared:9 - ext4 /dev/pmem0 rw,dax=always\n36 22 259:1 / /mnt/never rw - ext4 /dev/pmem1 rw,dax=never\n",
		"sys/kernel/btf/vmlinux":                                "\x9f\xeb",
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512", "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "500",
		"sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0",
		"sys/class/net/eth4/mtu":                                   "4200",
		"sys/class/net/eth5/mtu":                                   "1500",
		"sys/class/infiniband_verbs/uverbs0/ibdev":                 "mlx5_0",
		"sys/class/infiniband_verbs/uverbs1/ibdev":                 "mlx5_1",
		"sys/class/infiniband/mlx5_0/ports/1/state":                "4: ACTIVE",
		"sys/class/infiniband/mlx5_0/ports/1/gids/0":               "fe80:0000:0000:0000:0e42:a1ff:fe5d:b6c0",
		"sys/class/infiniband/mlx5_0/ports/1/gid_attrs/types/0":    "IB/RoCE v1",
		"sys/class/infiniband/mlx5_0/ports/1/gid_attrs/ndevs/0":    "eth4",
		"sys/class/infiniband/mlx5_0/ports/1/gids/3":               "0000:0000:0000:0000:0000:ffff:0a00:0001",
		"sys/class/infiniband/mlx5_0/ports/1/gid_attrs/types/3":    "RoCE v2",
		"sys/class/infiniband/mlx5_0/ports/1/gid_attrs/ndevs/3":    "eth4",
		"sys/class/infiniband/mlx5_0/ports/1/gids/4":               "0000:0000:0000:0000:0000:0000:0000:0000",
		"sys/class/infiniband/mlx5_1/ports/1/state":                "1: DOWN",
		"sys/class/infiniband/mlx5_1/ports/1/gids/0":               "fe80:0000:0000:0000:0e42:a1ff:fe5d:b6c1",
		"sys/class/infiniband/mlx5_1/ports/1/gid_attrs/types/0":    "RoCE v2",
		"sys/class/infiniband/mlx5_1/ports/1/gid_attrs/ndevs/0":    "eth5",
	} {
		files[path] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return &Host{
		Files: files, VerbsBuilt: true, Flush: "CLWB", Processors: 16, LockLimit: Unlimited, OpenFiles: 1 << 20,
		Access:    func(string) error { return nil },
		Space:     func(string) (Space, error) { return Space{16 << 30, 15 << 30}, nil },
		XDPSocket: func() error { return nil },
		TryDomain: func(string, pmem.Domain) error { return nil },
		ByNetdev: func(netdev string) (string, error) {
			if netdev == "eth4" {
				return "mlx5_0", nil
			}
			return "", errors.New("no such interface")
		},
	}, files
}

func verbsWanted() Want {
	return Want{Provider: "verbs", Verbs: rdma.Verbs{GIDIndex: -1}, Nodes: 6, Shards: 2, RingBytes: 8 << 20}
}

func examine(t *testing.T, h *Host, w Want) *Report {
	t.Helper()
	r, err := Examine(h, w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTestbed(t *testing.T) {
	h, _ := testbed()
	w := verbsWanted()
	w.Domain, w.Dir = pmem.DomainDAX, "/mnt/pmem0"
	r := examine(t, h, w)
	out := text(t, r)
	for _, part := range []string{
		"mlx5_0 port 1, GID 3 0000:0000:0000:0000:0000:ffff:0a00:0001 RoCE v2", "/dev/infiniband/uverbs0 can be opened",
		"4096 bytes", "2048kB: 512 reserved, 500 free", "CLWB", "/mnt/pmem0", "14 spare", "works in /mnt/pmem0", "interface eth5",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in\n%s", part, out)
		}
	}
	if strings.Contains(out, "/mnt/never") || r.Failures() != 0 || r.Gaps() != 1 { // mlx5_1 is down
		t.Errorf("%d failures, %d gaps\n%s", r.Failures(), r.Gaps(), out)
	}
	for _, c := range r.Checks {
		if (c.State == OK) != (c.Advice == "") || c.Found == "" {
			t.Errorf("%+v", c)
		}
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"state":"ok"`) || !strings.Contains(string(b), `"rdma_devices":[{`) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestWhatIsMissing takes one thing away at a time: the message says what is
// wrong and what to do.
func TestWhatIsMissing(t *testing.T) {
	type host = func(h *Host, files fstest.MapFS, w *Want)
	gids := func(files fstest.MapFS) {
		maps.DeleteFunc(files, func(path string, _ *fstest.MapFile) bool { return strings.Contains(path, "mlx5_0/ports/1/gid") })
	}
	missing := map[string]struct {
		take  host
		state State
		area  string
		says  []string
	}{
		"wrong device": {func(_ *Host, _ fstest.MapFS, w *Want) { w.Verbs.Device = "mlx5_7" }, Fail, "rdma",
			[]string{`"mlx5_7"`, "mlx5_0 port 1 ACTIVE (eth4)", "mlx5_1 port 1 DOWN"}},
		"wrong interface": {func(_ *Host, _ fstest.MapFS, w *Want) { w.Verbs.Netdev = "eth9" }, Fail, "rdma",
			[]string{`"eth9"`, "mlx5_0 port 1 ACTIVE (eth4)"}},
		"port down": {func(_ *Host, _ fstest.MapFS, w *Want) { w.Verbs.Device, w.Verbs.Port = "mlx5_1", 1 }, Fail, "rdma",
			[]string{"port 1 is DOWN", "ip link set eth5 up"}},
		"no such port": {func(_ *Host, _ fstest.MapFS, w *Want) { w.Verbs.Device, w.Verbs.Port = "mlx5_0", 2 }, Fail, "rdma",
			[]string{"no port 2", "--port"}},
		"no such GID": {func(_ *Host, _ fstest.MapFS, w *Want) { w.Verbs.GIDIndex = 4 }, Fail, "rdma",
			[]string{"no GID at index 4", "3 0000:0000:0000:0000:0000:ffff:0a00:0001 RoCE v2"}},
		"no GID": {func(_ *Host, files fstest.MapFS, _ *Want) { gids(files) }, Fail, "rdma",
			[]string{"port 1 has no GID", "address"}},
		"no device": {func(_ *Host, files fstest.MapFS, _ *Want) {
			maps.DeleteFunc(files, func(path string, _ *fstest.MapFile) bool { return strings.Contains(path, "infiniband") })
		}, Fail, "rdma", []string{"none", "modprobe rdma_rxe", "rdma link add"}},
		"no permission": {func(h *Host, _ fstest.MapFS, _ *Want) { h.Access = func(string) error { return unix.EACCES } }, Fail, "rdma",
			[]string{"/dev/infiniband/uverbs0", "permission denied", "group rdma"}},
		"no device file": {func(h *Host, _ fstest.MapFS, _ *Want) { h.Access = func(string) error { return unix.ENOENT } }, Fail, "rdma",
			[]string{"/dev/infiniband/uverbs0", "container", "device plugin"}},
		"no uverbs": {func(_ *Host, files fstest.MapFS, _ *Want) { delete(files, "sys/class/infiniband_verbs/uverbs0/ibdev") }, Fail, "rdma",
			[]string{"no file under /dev/infiniband", "modprobe ib_uverbs"}},
		"not built in": {func(h *Host, _ fstest.MapFS, _ *Want) { h.VerbsBuilt = false }, Fail, "rdma",
			[]string{"not built in", "libibverbs-dev", "make build"}},
		"locked memory": {func(h *Host, _ fstest.MapFS, _ *Want) { h.LockLimit = 64 << 20 }, Fail, "memory",
			[]string{"at most 64 MiB", "567 MiB", "ulimit -l", "LimitMEMLOCK", "IPC_LOCK"}},
		"no room for a node": {func(h *Host, _ fstest.MapFS, _ *Want) { h.OpenFiles = 90 }, Fail, "kernel",
			[]string{"90; a node needs", "ulimit -n", "LimitNOFILE"}},
		"few clients": {func(h *Host, _ fstest.MapFS, _ *Want) { h.OpenFiles = 1024 }, Gap, "kernel",
			[]string{"1024: room for", "clients of 10000", "ulimit -n"}},
		"MTU": {func(_ *Host, files fstest.MapFS, w *Want) {
			w.Verbs.MTU = 4096
			files["sys/class/net/eth4/mtu"] = &fstest.MapFile{Data: []byte("1500\n")}
		}, Fail, "rdma", []string{"4096 bytes asked for", "eth4", "gives 1024", "mtu 4200", "ask for 1024"}},
		"small packets": {func(_ *Host, files fstest.MapFS, _ *Want) {
			files["sys/class/net/eth4/mtu"] = &fstest.MapFile{Data: []byte("1500\n")}
		}, Gap, "rdma", []string{"1024 bytes", "mtu 4200"}},
		"RoCE v1": {func(_ *Host, _ fstest.MapFS, w *Want) { w.Verbs.GIDIndex = 0 }, Gap, "rdma",
			[]string{"GID 0", "IB/RoCE v1", "not routed"}},
		"huge pages": {func(_ *Host, files fstest.MapFS, _ *Want) {
			files["sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"] = &fstest.MapFile{Data: []byte("0\n")}
		}, Gap, "memory", []string{"512 reserved, 0 free", "nr_hugepages"}},
		"huge pages of the wrong size": {func(_ *Host, files fstest.MapFS, _ *Want) {
			files["sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"] = &fstest.MapFile{Data: []byte("0\n")}
			files["sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"] = &fstest.MapFile{Data: []byte("0\n")}
			files["sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"] = &fstest.MapFile{Data: []byte("8\n")}
			files["sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages"] = &fstest.MapFile{Data: []byte("8\n")}
		}, Gap, "memory", []string{"1048576kB: 8 reserved, 8 free, not used", "2 MiB", "nr_hugepages"}},
		"cores": {func(h *Host, _ fstest.MapFS, _ *Want) { h.Processors = 3 }, Gap, "processor", []string{"3 for 2 shard workers", "1 spare", "fewer shards"}},
		"quota": {func(_ *Host, files fstest.MapFS, _ *Want) {
			files["sys/fs/cgroup/cpu.max"] = &fstest.MapFile{Data: []byte("200000 100000\n")}
		}, Gap, "processor", []string{"2 for 2 shard workers", "cpu.max", "0 spare"}},
		"flush":  {func(h *Host, _ fstest.MapFS, _ *Want) { h.Flush = "CLFLUSH" }, Gap, "processor", []string{"CLFLUSH", "CLWB or CLFLUSHOPT"}},
		"no dax": {func(_ *Host, files fstest.MapFS, _ *Want) { files["proc/self/mountinfo"].Data = nil }, Gap, "storage", []string{"no persistent memory", "domain file"}},
		"pmem without dax": {func(_ *Host, files fstest.MapFS, _ *Want) {
			files["proc/self/mountinfo"].Data = nil
			files["sys/block/pmem0/size"] = &fstest.MapFile{Data: []byte("1\n")}
		}, Gap, "storage", []string{"pmem0", "-m fsdax", "dax=always"}},
		"tmpfs": {func(h *Host, _ fstest.MapFS, _ *Want) {
			h.Space = func(string) (Space, error) { return Space{64 << 20, 60 << 20}, nil }
		}, Gap, "memory", []string{"60 MiB free of 64 MiB", "--shm-size"}},
		"kernel": {func(_ *Host, files fstest.MapFS, _ *Want) {
			files["proc/sys/kernel/osrelease"].Data = []byte("5.4.0-1\n")
		}, Gap, "kernel", []string{"5.4.0-1", "5.14"}},
		"BTF": {func(_ *Host, files fstest.MapFS, _ *Want) { delete(files, "sys/kernel/btf/vmlinux") }, Gap, "kernel", []string{"no BTF", "CONFIG_DEBUG_INFO_BTF"}},
		"eBPF": {func(_ *Host, files fstest.MapFS, _ *Want) {
			files["proc/self/status"].Data = []byte("CapEff:\t0000000000000000\n")
		}, Gap, "kernel", []string{"no privilege", "BPF and PERFMON"}},
		"XDP":     {func(h *Host, _ fstest.MapFS, _ *Want) { h.XDPSocket = func() error { return unix.EAFNOSUPPORT } }, Gap, "kernel", []string{"AF_XDP", "CONFIG_XDP_SOCKETS"}},
		"NET_RAW": {func(h *Host, _ fstest.MapFS, _ *Want) { h.XDPSocket = func() error { return unix.EPERM } }, Gap, "kernel", []string{"not permitted", "NET_RAW"}},
		"domain": {func(h *Host, _ fstest.MapFS, w *Want) {
			w.Domain, w.Dir = pmem.DomainDAX, "/var/lib/healkv"
			h.TryDomain = func(string, pmem.Domain) error { return pmem.ErrDomain }
		}, Fail, "storage", []string{"/var/lib/healkv", "not available", "--domain"}},
		"domain's directory": {func(h *Host, _ fstest.MapFS, w *Want) {
			w.Domain, w.Dir = pmem.DomainFile, "/var/lib/healkv"
			h.TryDomain = func(string, pmem.Domain) error { return fs.ErrNotExist }
		}, Fail, "storage", []string{"/var/lib/healkv", "make the directory"}},
	}
	for name, m := range missing {
		h, files := testbed()
		w := verbsWanted()
		m.take(h, files, &w)
		r := examine(t, h, w)
		i := slices.IndexFunc(r.Checks, func(c Check) bool {
			return c.Area == m.area && c.State == m.state && !slices.ContainsFunc(m.says, func(part string) bool { return !strings.Contains(c.Name+" "+c.Found+" → "+c.Advice, part) })
		})
		if i < 0 {
			t.Errorf("%s: no %s of %s says %q:\n%s", name, m.state, m.area, m.says, text(t, r))
			continue
		}
		if want := m.state == Fail; want != (r.Failures() > 0) {
			t.Errorf("%s: %d failures\n%s", name, r.Failures(), text(t, r))
		}
		if c := r.Checks[i]; c.Advice == "" {
			t.Errorf("%s: nothing to do about it: %+v", name, c)
		}
		w.Provider, w.Domain, w.Verbs = "", pmem.DomainAuto, rdma.Verbs{GIDIndex: -1} // nothing is asked for
		if r := examine(t, h, w); r.Failures() != 0 {
			t.Errorf("%s: fails without being asked for anything:\n%s", name, text(t, r))
		}
	}
	t.Logf("%d things missing, each named with what to do", len(missing))
}

// IPC_LOCK stands for any limit.
func TestCapabilityLiftsTheLimit(t *testing.T) {
	h, files := testbed()
	h.LockLimit = 64 << 10
	files["proc/self/status"].Data = []byte("CapEff:\t000001ffffffffff\n")
	if r := examine(t, h, verbsWanted()); r.Failures() != 0 {
		t.Error(text(t, r))
	}
}

// The limit must allow 2*nodes-1 rings and what a recovery adds, for each shard;
// not a byte less will do.
func TestLockedMemoryHasHeadroom(t *testing.T) {
	h, _ := testbed()
	w := verbsWanted()
	need := w.lockNeed()
	if least := uint64(w.Shards) * (uint64(2*w.Nodes-1)*w.RingBytes + 192<<20); need <= least {
		t.Errorf("%d bytes, with rings and windows alone %d", need, least)
	}
	h.LockLimit = need
	if r := examine(t, h, w); r.Failures() != 0 {
		t.Error(text(t, r))
	}
	h.LockLimit = need - 1
	if r := examine(t, h, w); r.Failures() != 1 {
		t.Error(text(t, r))
	}
}

func TestUnknownProvider(t *testing.T) {
	h, _ := testbed()
	if _, err := Examine(h, Want{Provider: "infiniband"}); !errors.Is(err, rdma.ErrProvider) || !strings.Contains(err.Error(), "infiniband") {
		t.Fatal(err)
	}
}

// TestThisHost: it works here, whatever is here, and leaves nothing.
func TestThisHost(t *testing.T) {
	h, err := Local()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := examine(t, h, Want{Shards: 1, Nodes: 1, RingBytes: 8 << 20, Domain: pmem.DomainDAX, Dir: dir, Verbs: rdma.Verbs{GIDIndex: -1}})
	if left, _ := fs.Glob(h.Files, strings.TrimPrefix(dir, "/")+"/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if len(r.Checks) < 10 {
		t.Errorf("%d checks", len(r.Checks))
	}
	t.Log("\n" + text(t, r))
}
