package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// What can be wrong with certificates: our own files, or what a peer shows.
var (
	ErrFiles     = errors.New("identity: certificate files")
	ErrUntrusted = errors.New("identity: certificate is not signed by this cluster's authority")
	ErrExpired   = errors.New("identity: certificate is not valid at this time")
	ErrName      = errors.New("identity: certificate names no node of a cluster")
	ErrCluster   = errors.New("identity: certificate of another cluster")
	ErrNode      = errors.New("identity: certificate of another node")
	ErrMissing   = errors.New("identity: no certificate was shown")
)

const scheme = "healkv"

// Name is a node of a cluster.
type Name struct {
	Cluster string // the cluster's id
	Node    proto.NodeID
}

// URI is the name as certificates have it: healkv://CLUSTER/NODE.
func (n Name) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: n.Cluster, Path: "/" + strconv.Itoa(int(n.Node))}
}

func (n Name) String() string { return n.URI().String() }

// Of reads the name out of a certificate: ErrName unless there is exactly one.
func Of(c *x509.Certificate) (Name, error) {
	var found []Name
	var text []string
	for _, u := range c.URIs {
		if u.Scheme != scheme {
			continue
		}
		text = append(text, u.String())
		node, err := strconv.Atoi(strings.TrimPrefix(u.Path, "/"))
		name := Name{u.Host, proto.NodeID(node)}
		// Compared as a whole, so that there is one spelling.
		if err == nil && 0 <= node && node < proto.NodesMax && u.Host != "" && (name.String() == u.String() || plant.Is(plant.IdentSpelling)) {
			found = append(found, name)
		}
	}
	if (len(found) != 1 || len(text) != 1) && !(plant.Is(plant.IdentTwo) && len(found) > 1) {
		return Name{}, fmt.Errorf("%w: its URIs are %.200q, want one %s://CLUSTER/NODE with a node from 0 to %d", ErrName, text, scheme, proto.NodesMax-1)
	}
	return found[0], nil
}
