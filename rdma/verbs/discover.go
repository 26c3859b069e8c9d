package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/Mellanox/rdmamap"

	"healkv/rdma"
)

// ErrDevice is a device, port or GID that was asked for and cannot be had; the
// text says what is missing and what to do.
var ErrDevice = errors.New("verbs: device")

// sysfs is where the kernel describes RDMA devices.
const sysfs = "/sys/class"

// Found is one device as the kernel describes it.
type Found struct {
	Name  string
	File  string // under /dev/infiniband; "": none
	Ports []FoundPort
}

// FoundPort is one port of a device.
type FoundPort struct {
	Number int
	State  string // as sysfs has it: "ACTIVE", "DOWN" ...
	Netdev string // of its first GID; "": none
	GIDs   []FoundGID
}

// FoundGID is an entry of a port's GID table that is in use.
type FoundGID struct {
	Index int
	GID   string
	Type  string // "IB/RoCE v1", "RoCE v2"
}

// Discover lists the RDMA devices of this host in their kernel's order of
// names; none where the kernel has no RDMA subsystem. It needs neither
// libibverbs nor permissions.
func Discover() ([]Found, error) { return discover(os.DirFS(sysfs)) }

func discover(class fs.FS) ([]Found, error) {
	entries, err := fs.ReadDir(class, "infiniband")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	files := map[string]string{}
	if verbs, err := fs.ReadDir(class, "infiniband_verbs"); err == nil {
		for _, v := range verbs {
			if name := word(class, "infiniband_verbs", v.Name(), "ibdev"); name != "" {
				files[name] = "/dev/infiniband/" + v.Name()
			}
		}
	}
	var all []Found
	for _, e := range entries {
		d := Found{Name: e.Name(), File: files[e.Name()]}
		ports, err := fs.ReadDir(class, path.Join("infiniband", d.Name, "ports"))
		if err != nil {
			return nil, fmt.Errorf("%w %s: %w", ErrDevice, d.Name, err)
		}
		for _, p := range ports {
			if n, err := strconv.Atoi(p.Name()); err == nil {
				d.Ports = append(d.Ports, discoverPort(class, path.Join("infiniband", d.Name, "ports", p.Name()), n))
			}
		}
		slices.SortFunc(d.Ports, func(a, b FoundPort) int { return a.Number - b.Number })
		all = append(all, d)
	}
	return all, nil
}

func word(class fs.FS, elem ...string) string {
	b, err := fs.ReadFile(class, path.Join(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func discoverPort(class fs.FS, dir string, number int) FoundPort {
	p := FoundPort{Number: number}
	state := word(class, dir, "state") // "4: ACTIVE"
	if _, name, ok := strings.Cut(state, ": "); ok {
		state = name
	}
	p.State = state
	gids, err := fs.ReadDir(class, path.Join(dir, "gids"))
	if err != nil {
		return p
	}
	for _, g := range gids {
		i, err := strconv.Atoi(g.Name())
		gid := word(class, dir, "gids", g.Name())
		if err != nil || strings.Trim(gid, "0:") == "" {
			continue
		}
		p.GIDs = append(p.GIDs, FoundGID{i, gid, word(class, dir, "gid_attrs", "types", g.Name())})
		if p.Netdev == "" {
			p.Netdev = word(class, dir, "gid_attrs", "ndevs", g.Name())
		}
	}
	slices.SortFunc(p.GIDs, func(a, b FoundGID) int { return a.Index - b.Index })
	return p
}

// chosen is the device, port and GID that a configuration means.
type chosen struct {
	device   string
	file     string
	port     int
	gidIndex int
	gidType  string
}

// netdevOf asks rdmamap which device a network interface belongs to.
func netdevOf(netdev string) (string, error) { return rdmamap.GetRdmaDeviceForNetdevice(netdev) }

// choose finds what the configuration means among what there is.
func choose(v rdma.Verbs, all []Found, byNetdev func(string) (string, error)) (chosen, error) {
	d, err := chooseDevice(v, all, byNetdev)
	if err != nil {
		return chosen{}, err
	}
	p, err := choosePort(v.Port, d)
	if err != nil {
		return chosen{}, err
	}
	g, err := chooseGID(v.GIDIndex, d.Name, p)
	if err != nil {
		return chosen{}, err
	}
	return chosen{d.Name, d.File, p.Number, g.Index, g.Type}, nil
}

func chooseDevice(v rdma.Verbs, all []Found, byNetdev func(string) (string, error)) (*Found, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: this host has none; load the adapter's driver, or for Soft-RoCE: modprobe rdma_rxe && rdma link add rxe0 type rxe netdev INTERFACE", ErrDevice)
	}
	name := v.Device
	if name == "" && v.Netdev != "" {
		var err error
		if name, err = byNetdev(v.Netdev); err != nil || name == "" {
			return nil, fmt.Errorf("%w: network interface %q belongs to none; there are: %s", ErrDevice, v.Netdev, names(all))
		}
	}
	if name != "" {
		for i := range all {
			if all[i].Name == name {
				return &all[i], nil
			}
		}
		return nil, fmt.Errorf("%w %q: there is no such one; there are: %s", ErrDevice, name, names(all))
	}
	for i := range all {
		if slices.ContainsFunc(all[i].Ports, func(p FoundPort) bool { return p.State == "ACTIVE" && (v.Port == 0 || v.Port == p.Number) }) {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("%w: no port is active; there are: %s; check cables and ip link", ErrDevice, names(all))
}

// names lists devices with their ports' states.
func names(all []Found) string {
	var s []string
	for _, d := range all {
		for _, p := range d.Ports {
			x := fmt.Sprintf("%s port %d %s", d.Name, p.Number, p.State)
			if p.Netdev != "" {
				x += " (" + p.Netdev + ")"
			}
			s = append(s, x)
		}
	}
	return strings.Join(s, ", ")
}

func choosePort(number int, d *Found) (*FoundPort, error) {
	for i := range d.Ports {
		p := &d.Ports[i]
		if number == 0 && p.State == "ACTIVE" {
			return p, nil
		}
		if number == p.Number {
			if p.State != "ACTIVE" {
				return nil, fmt.Errorf("%w %s: port %d is %s, not ACTIVE; check the cable, or ip link set %s up", ErrDevice, d.Name, number, p.State, or(p.Netdev, "INTERFACE"))
			}
			return p, nil
		}
	}
	if number == 0 {
		return nil, fmt.Errorf("%w %s: no port is active: %s; check the cable, or ip link set INTERFACE up", ErrDevice, d.Name, names([]Found{*d}))
	}
	return nil, fmt.Errorf("%w %s: no port %d; there are: %s", ErrDevice, d.Name, number, names([]Found{*d}))
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// chooseGID prefers RoCEv2 with an IPv4 address, then RoCEv2, then the first.
func chooseGID(index int, device string, p *FoundPort) (FoundGID, error) {
	if index >= 0 {
		for _, g := range p.GIDs {
			if g.Index == index {
				return g, nil
			}
		}
		return FoundGID{}, fmt.Errorf("%w %s: port %d has no GID at index %d; there are: %s", ErrDevice, device, p.Number, index, gidList(p))
	}
	best, rank := FoundGID{}, -1
	for _, g := range p.GIDs {
		r := 0
		if g.Type == "RoCE v2" {
			r = 1
			if strings.HasPrefix(g.GID, "0000:0000:0000:0000:0000:ffff:") {
				r = 2
			}
		}
		if r > rank {
			best, rank = g, r
		}
	}
	if rank < 0 {
		return best, fmt.Errorf("%w %s: port %d has no GID; give the interface %s an address", ErrDevice, device, p.Number, or(p.Netdev, "of that port"))
	}
	return best, nil
}

func gidList(p *FoundPort) string {
	var s []string
	for _, g := range p.GIDs {
		s = append(s, fmt.Sprintf("%d %s %s", g.Index, g.GID, g.Type))
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, ", ")
}
