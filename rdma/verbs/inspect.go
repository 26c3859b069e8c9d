package verbs

import (
	"io/fs"

	"healkv/rdma"
)

// DiscoverAt is Discover for another /sys/class.
func DiscoverAt(class fs.FS) ([]Found, error) { return discover(class) }

// DeviceOf names the RDMA device of a network interface, as rdmamap finds it.
func DeviceOf(netdev string) (string, error) { return netdevOf(netdev) }

// Choose finds the device, port and GID that a configuration means among what
// there is, as an endpoint does when it opens. A negative GIDIndex chooses.
//
// Errors: ErrDevice, with what is missing and what to do.
func Choose(v rdma.Verbs, all []Found, byNetdev func(string) (string, error)) (*Found, *FoundPort, FoundGID, error) {
	d, err := chooseDevice(v, all, byNetdev)
	if err != nil {
		return nil, nil, FoundGID{}, err
	}
	p, err := choosePort(v.Port, d)
	if err != nil {
		return nil, nil, FoundGID{}, err
	}
	g, err := chooseGID(v.GIDIndex, d.Name, p)
	return d, p, g, err
}
