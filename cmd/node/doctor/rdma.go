package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"healkv/rdma/verbs"
)

// rdma looks at the devices, and at the one that would be used.
func (x *examination) rdma() {
	asked := x.want.Provider == "verbs"
	if x.VerbsBuilt {
		x.ok("rdma", "provider verbs", "built in")
	} else {
		x.gap(asked, "rdma", "provider verbs", "not built in: libibverbs was not there at the build",
			"apt-get install libibverbs-dev pkg-config gcc, then make build")
	}

	class, err := fs.Sub(x.Files, "sys/class")
	if err == nil {
		x.Devices, err = verbs.DiscoverAt(class)
	}
	if err != nil {
		x.gap(asked, "rdma", "devices", err.Error(), "is /sys mounted, and readable?")
		return
	}
	for _, d := range x.Devices {
		for _, p := range d.Ports {
			x.port(&d, &p)
		}
	}
	device, port, gid, err := verbs.Choose(x.want.Verbs, x.Devices, x.ByNetdev)
	if err != nil {
		// The text says what is wrong, then what there is, then what to do.
		found, advice := err.Error(), "name another with --device, --netdev, --port or --gid-index"
		if i := strings.LastIndex(found, "; "); i >= 0 && !strings.HasPrefix(found[i:], "; there are: ") {
			found, advice = found[:i], found[i+2:]
		}
		x.gap(asked, "rdma", "device to use", found, advice)
		return
	}
	name := fmt.Sprintf("%s port %d, GID %d %s %s", device.Name, port.Number, gid.Index, gid.GID, gid.Type)
	if gid.Type != "" && gid.Type != "RoCE v2" {
		x.gap(false, "rdma", "device to use", name, "RoCE v1 is not routed; a RoCEv2 GID appears when the interface has an address and the device does v2")
	} else {
		x.ok("rdma", "device to use", "%s", name)
	}
	x.permission(asked, device)
	x.mtu(asked, port)
}

func (x *examination) port(d *verbs.Found, p *verbs.FoundPort) {
	found := fmt.Sprintf("%s, %d GIDs", p.State, len(p.GIDs))
	if p.Netdev != "" {
		found += ", interface " + p.Netdev
	}
	for _, g := range p.GIDs {
		found += fmt.Sprintf("; GID %d %s %s", g.Index, g.GID, g.Type)
	}
	name := fmt.Sprintf("%s port %d", d.Name, p.Number)
	switch {
	case p.State != "ACTIVE":
		x.gap(false, "rdma", name, found, "check the cable and the switch, and ip link set "+or(p.Netdev, "INTERFACE")+" up")
	case len(p.GIDs) == 0:
		x.gap(false, "rdma", name, found, "give its interface an address: ip address add")
	default:
		x.ok("rdma", name, "%s", found)
	}
}

func (x *examination) permission(asked bool, d *verbs.Found) {
	switch {
	case d.File == "":
		x.gap(asked, "rdma", "permission", d.Name+" has no file under /dev/infiniband", "modprobe ib_uverbs; in a container give it /dev/infiniband, or use a device plugin")
	default:
		err := x.Access(d.File)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			x.gap(asked, "rdma", "permission", d.File+" does not exist here", "in a container give it the device (--device "+d.File+"), or use a Kubernetes device plugin; else udev makes it")
		case err != nil:
			x.gap(asked, "rdma", "permission", fmt.Sprintf("%s: %v", d.File, err), "run as a user who may read and write it: group rdma, or a udev rule with MODE=\"0666\"")
		default:
			x.ok("rdma", "permission", "%s can be opened", d.File)
		}
	}
}

// headers is what the kernel takes off an Ethernet interface's MTU for RoCE
// (iboe_get_mtu in its rdma/ib_addr.h).
const headers = 96

// mtu compares the path MTU with what the port's interface gives.
func (x *examination) mtu(asked bool, p *verbs.FoundPort) {
	if p.Netdev == "" {
		return // InfiniBand: the subnet manager decides
	}
	link := x.number("sys/class/net/" + p.Netdev + "/mtu")
	if link == 0 {
		return
	}
	path := 256
	for path < 4096 && path*2 <= link-headers {
		path *= 2
	}
	switch want := x.want.Verbs.MTU; {
	case want > path:
		x.gap(asked, "rdma", "path MTU", fmt.Sprintf("%d bytes asked for; %s with an MTU of %d gives %d", want, p.Netdev, link, path),
			fmt.Sprintf("ip link set %s mtu %d, on every host and switch of the way; or ask for %d", p.Netdev, want+headers+8, path))
	case want == 0 && path < 4096:
		x.gap(false, "rdma", "path MTU", fmt.Sprintf("%d bytes, as %s has an MTU of %d", path, p.Netdev, link),
			fmt.Sprintf("4096 has fewer packets: ip link set %s mtu 4200 or more, on every host and switch of the way", p.Netdev))
	default:
		x.ok("rdma", "path MTU", "%d bytes", path)
	}
}
