package verbs

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"healkv/rdma"
)

// host is /sys/class of a host with two devices: one down, one up with a GID
// of each kind.
func host() fstest.MapFS {
	files := map[string]string{
		"infiniband_verbs/uverbs0/ibdev":                         "mlx5_0\n",
		"infiniband_verbs/uverbs1/ibdev":                         "rxe0\n",
		"infiniband/mlx5_0/ports/1/state":                        "1: DOWN\n",
		"infiniband/mlx5_0/ports/1/gids/0":                       "0000:0000:0000:0000:0000:0000:0000:0000\n",
		"infiniband/rxe0/ports/1/state":                          "4: ACTIVE\n",
		"infiniband/rxe0/ports/1/gids/0":                         "fe80:0000:0000:0000:5054:00ff:fe12:3456\n",
		"infiniband/rxe0/ports/1/gid_attrs/types/0":              "IB/RoCE v1\n",
		"infiniband/rxe0/ports/1/gid_attrs/ndevs/0":              "v0\n",
		"infiniband/rxe0/ports/1/gids/1":                         "fe80:0000:0000:0000:5054:00ff:fe12:3456\n",
		"infiniband/rxe0/ports/1/gid_attrs/types/1":              "RoCE v2\n",
		"infiniband/rxe0/ports/1/gids/2":                         "0000:0000:0000:0000:0000:ffff:0a07:0001\n",
		"infiniband/rxe0/ports/1/gid_attrs/types/2":              "IB/RoCE v1\n",
		"infiniband/rxe0/ports/1/gids/10":                        "0000:0000:0000:0000:0000:ffff:0a07:0001\n",
		"infiniband/rxe0/ports/1/gid_attrs/types/10":             "RoCE v2\n",
		"infiniband/rxe0/ports/1/gids/11":                        "0000:0000:0000:0000:0000:0000:0000:0000\n",
		"infiniband/rxe0/ports/1/gid_attrs/ndevs/unused-by-gids": "",
	}
	fs := fstest.MapFS{}
	for name, text := range files {
		fs[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fs
}

func TestDiscover(t *testing.T) {
	all, err := discover(host())
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	d := all[1]
	if d.Name != "rxe0" || d.File != "/dev/infiniband/uverbs1" || len(d.Ports) != 1 || d.Ports[0].State != "ACTIVE" || d.Ports[0].Netdev != "v0" || len(d.Ports[0].GIDs) != 4 {
		t.Errorf("%+v", d)
	}
	if g := d.Ports[0].GIDs[3]; g.Index != 10 || g.Type != "RoCE v2" {
		t.Errorf("%+v", g)
	}
	if all, err := discover(fstest.MapFS{}); err != nil || all != nil {
		t.Errorf("a host without RDMA: %+v, %v", all, err)
	}
}

func TestChoose(t *testing.T) {
	all, _ := discover(host())
	netdev := func(name string) (string, error) {
		if name == "v0" {
			return "rxe0", nil
		}
		return "", errors.New("none")
	}
	for _, v := range []rdma.Verbs{{GIDIndex: -1}, {Device: "rxe0", GIDIndex: -1}, {Netdev: "v0", GIDIndex: -1}, {Device: "rxe0", Port: 1, GIDIndex: 10}} {
		c, err := choose(v, all, netdev)
		if err != nil || c.device != "rxe0" || c.port != 1 || c.gidIndex != 10 || c.gidType != "RoCE v2" {
			t.Errorf("%+v: %+v, %v", v, c, err)
		}
	}
	bare := []Found{{Name: "rxe0", Ports: []FoundPort{{Number: 1, State: "ACTIVE", Netdev: "v0"}}}}
	for _, c := range []struct {
		v    rdma.Verbs
		all  []Found
		says []string
	}{
		{rdma.Verbs{GIDIndex: -1}, nil, []string{"this host has none", "rdma link add"}},
		{rdma.Verbs{Device: "mlx4_0", GIDIndex: -1}, all, []string{`"mlx4_0"`, "no such", "mlx5_0 port 1 DOWN", "rxe0 port 1 ACTIVE (v0)"}},
		{rdma.Verbs{Netdev: "eth7", GIDIndex: -1}, all, []string{`"eth7"`, "rxe0 port 1 ACTIVE"}},
		{rdma.Verbs{Device: "mlx5_0", GIDIndex: -1}, all, []string{"no port is active", "DOWN", "ip link set"}},
		{rdma.Verbs{Device: "mlx5_0", Port: 1, GIDIndex: -1}, all, []string{"port 1 is DOWN", "ip link set"}},
		{rdma.Verbs{Device: "rxe0", Port: 2, GIDIndex: -1}, all, []string{"no port 2", "port 1 ACTIVE"}},
		{rdma.Verbs{Device: "rxe0", GIDIndex: 11}, all, []string{"no GID at index 11", "10 0000", "RoCE v2"}},
		{rdma.Verbs{GIDIndex: -1}, bare, []string{"has no GID", "interface v0 an address"}},
		{rdma.Verbs{GIDIndex: -1}, all[:1], []string{"no port is active", "mlx5_0 port 1 DOWN"}},
	} {
		_, err := choose(c.v, c.all, netdev)
		if !errors.Is(err, ErrDevice) {
			t.Errorf("%+v: %v", c.v, err)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%+v: %v; want %q in it", c.v, err, s)
			}
		}
	}
}
