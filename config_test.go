package healkv

import (
	"errors"
	"strings"
	"testing"

	"healkv/rdma/shm"
	"healkv/rdma/tcp"
	"healkv/rdma/verbs"
)

// What the data connections cannot be is refused before anything is opened, in
// words that say what to set.
func TestDataConnectionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		provider, control, data string
		tls                     bool
		want                    string // "": fine
	}{
		{tcp.Name, "10.0.0.1:7200", "", true, ""},
		{tcp.Name, "10.0.0.1:7200", "10.0.0.2:7300", false, "DataPlain"},
		{tcp.Name, "0.0.0.0:7200", "host", false, "in the clear"},
		{tcp.Name, "10.0.0.1:7200", "127.0.0.1:7300", false, ""},
		{tcp.Name, "localhost:7200", "", false, ""},
		{tcp.Name, "0.0.0.0:7200", "10.0.0.1", true, ""},
		{tcp.Name, ":7200", "", false, "names no host"},
		{tcp.Name, "0.0.0.0:7200", "", false, "names no host"},
		{tcp.Name, "[::]:7200", "", false, "names no host"},
		{tcp.Name, "10.0.0.1:7200", ":7300", false, "names no host"},
		{tcp.Name, "10.0.0.1:7200", "0.0.0.0:7300", false, "names no host"},
		{verbs.Name, "10.0.0.1:7200", "", false, ""},
		{verbs.Name, "10.0.0.1:7200", "", true, "cannot encrypt"},
		{shm.Name, "", "", true, "stays within this host"},
	} {
		n := Config{Provider: c.provider, Nodes: 1, Shards: 1, ControlListen: c.control, DataListen: c.data, DataTLS: c.tls}
		if c.control != "" {
			n.ControlPeers = []string{"10.0.0.1:7200"}
		}
		err := n.validateNetwork()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, control %q, data %q, TLS %v: %v, want %q", c.provider, c.control, c.data, c.tls, err, c.want)
		}
	}
	n := Config{Provider: tcp.Name, Nodes: 1, Shards: 1, ControlListen: "10.0.0.1:7200", ControlPeers: []string{"10.0.0.1:7200"}, DataPlain: true}
	if err := n.validateNetwork(); err != nil {
		t.Errorf("in the clear, and said so: %v", err)
	}
}
