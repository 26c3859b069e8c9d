package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"

	"healkv/cmd/node/config"
	"healkv/cmd/node/doctor"
	"healkv/pmem"
	"healkv/rdma"
)

type doctorArgs struct {
	json   bool
	want   doctor.Want
	domain string
	ring   config.Size
}

func doctorFlags(a *doctorArgs) *flag.FlagSet {
	fs := newFlagSet("doctor")
	fs.BoolVar(&a.json, "json", false, "the report as JSON")
	fs.StringVar(&a.want.Provider, "provider", "", "fail if this `provider` (shm, tcp, verbs) could not be used")
	fs.StringVar(&a.want.Verbs.Device, "device", "", "verbs: this RDMA device, by the `name` that ibv_devices shows")
	fs.StringVar(&a.want.Verbs.Netdev, "netdev", "", "verbs: the device of this network `interface`")
	fs.IntVar(&a.want.Verbs.Port, "port", 0, "verbs: this `port` of the device; 0 is the first active one")
	fs.IntVar(&a.want.Verbs.GIDIndex, "gid-index", -1, "verbs: this `entry` of the port's GID table; -1 chooses")
	fs.IntVar(&a.want.Verbs.MTU, "mtu", 0, "verbs: this path MTU in `bytes`; 0 is what the interface gives")
	fs.StringVar(&a.domain, "domain", "", "fail if this durability `domain` (dax, file, memory) cannot be had in --dir")
	fs.StringVar(&a.want.Dir, "dir", "", "the `directory` where the pools will be; one file is made there and removed")
	defaults := config.Default()
	fs.IntVar(&a.want.Nodes, "nodes", nodesDefault, "nodes of the cluster, for the memory that verbs registers")
	fs.IntVar(&a.want.Shards, "shards", defaults.Shards, "shard workers of the node")
	a.ring = defaults.RingSize
	fs.Var(&a.ring, "ring-size", "the node's ring_size")
	return fs
}

func runDoctor(_ context.Context, args []string) error {
	var a doctorArgs
	if err := parse(doctorFlags(&a), args); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	_ = builtIn("verbs") // whoever has it looks at the devices; what is missing the report says
	host, err := doctor.Local()
	if err != nil {
		return err
	}
	r, err := doctor.Examine(host, a.want)
	if err != nil {
		return badConfig(err)
	}
	if a.json {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(r)
	} else {
		err = r.Table(os.Stdout)
	}
	if n := r.Failures(); err == nil && n > 0 {
		err = fmt.Errorf("doctor: %d of what was asked for cannot be had, see above", n)
	}
	return err
}

// check refuses what no host could have.
func (a *doctorArgs) check() error {
	w := &a.want
	w.RingBytes = uint64(a.ring)
	if v := w.Verbs; v != (rdma.Verbs{GIDIndex: -1}) && w.Provider != "verbs" {
		return usage("doctor: --device, --netdev, --port, --gid-index and --mtu go with --provider verbs")
	}
	if !slices.Contains([]int{0, 256, 512, 1024, 2048, 4096}, w.Verbs.MTU) {
		return usage("doctor: --mtu %d: want 256, 512, 1024, 2048 or 4096", w.Verbs.MTU)
	}
	if w.Nodes < 1 || w.Shards < 1 || a.ring < 1 {
		return usage("doctor: --nodes, --shards and --ring-size are at least 1")
	}
	switch {
	case a.domain == "" && w.Dir == "":
		return nil
	case a.domain == "" || w.Dir == "":
		return usage("doctor: --domain and --dir go together: which domain, and where?")
	}
	d, err := pmem.ParseDomain(a.domain)
	if err == nil && d == pmem.DomainAuto {
		return usage("doctor: --domain auto can always be had: ask for dax, file or memory")
	}
	w.Domain = d
	return badConfig(err)
}
