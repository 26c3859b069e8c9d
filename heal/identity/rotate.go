package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// How the authority of a running cluster is replaced, each step at all nodes
// before the next one:
//
//	RotateAuthority   a new authority, and every node trusts both
//	Make              certificates by the new one
//	DropOldAuthority  nobody trusts the old one any more

// ErrRotation is a step that is not the next one.
var ErrRotation = errors.New("identity: change of authority")

// RotateAuthority makes a new authority beside the one in Dir, which signs from
// now on, and gives the nodes both to trust. Their certificates stay.
func RotateAuthority(o MakeOptions) error {
	a, err := o.present()
	if err != nil {
		return err
	}
	if n := len(blocks(a.pem)); n != 1 {
		return fmt.Errorf("%w: %s holds %d authorities, want 1: the last change is not over, certificates by the new one are next, and then the old one is dropped", ErrRotation, o.caFile(), n)
	}
	if err := o.allThere(); err != nil {
		return err
	}
	fresh, key, err := o.makeAuthority(a.cluster)
	if err != nil {
		return err
	}
	// Until the key is there the old authority signs: present goes by the key.
	both := append(bytes.Clone(fresh.pem), a.pem...)
	if err := errors.Join(write(o.caFile(), both), write(o.caKeyFile(), key)); err != nil {
		return err
	}
	return o.giveCA(both)
}

// DropOldAuthority leaves the nodes the authority that signs now. It refuses
// while a node's certificate in its directory is by another one.
func DropOldAuthority(o MakeOptions) error {
	a, err := o.present()
	if err != nil {
		return err
	}
	if n := len(blocks(a.pem)); n < 2 {
		return fmt.Errorf("%w: %s holds no other authority than the one that signs", ErrRotation, o.caFile())
	}
	if err := o.allThere(); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for i := range o.Nodes {
		f := MadeFiles(o.nodeDir(i))
		b, err := read(f.Cert, "certificate", 0o022)
		if err != nil {
			return err
		}
		chain := blocks(b)
		if len(chain) == 0 {
			return fmt.Errorf("%w: certificate %s holds none in PEM", ErrFiles, f.Cert)
		}
		if err := verify(chain, roots, x509.ExtKeyUsageAny); err != nil && !plant.Is(plant.IdentDropEarly) {
			return fmt.Errorf("%w: %s: %w; issue new certificates first, and give them to all nodes", ErrRotation, f.Cert, err)
		}
	}
	only := certPEM(a.cert.Raw)
	if err := write(o.caFile(), only); err != nil {
		return err
	}
	return o.giveCA(only)
}

func (o *MakeOptions) caFile() string    { return filepath.Join(o.Dir, CAFile) }
func (o *MakeOptions) caKeyFile() string { return filepath.Join(o.Dir, CAKeyFile) }

func (o *MakeOptions) nodeDir(i int) string {
	if o.NodeDir != nil {
		return o.NodeDir(i)
	}
	return filepath.Join(o.Dir, fmt.Sprintf("node-%d", i))
}

// present is the authority in Dir, which must be there.
func (o *MakeOptions) present() (*authority, error) {
	if _, err := os.Stat(o.caFile()); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not there; name the directory that certificates were made in", ErrRotation, o.caFile())
	}
	a, _, err := o.authority()
	return a, err
}

// allThere: nothing is changed if some node would be left out.
func (o *MakeOptions) allThere() error {
	if o.Nodes < 1 || o.Nodes > proto.NodesMax {
		return fmt.Errorf("%w: %d nodes, want 1 to %d", ErrRotation, o.Nodes, proto.NodesMax)
	}
	for i := range o.Nodes + 1 {
		_, err := os.Stat(o.nodeDir(i))
		if i < o.Nodes && err != nil {
			return fmt.Errorf("%w: node %d of %d: %w; name as many nodes as there are certificates of", ErrRotation, i, o.Nodes, err)
		}
		if i == o.Nodes && err == nil {
			return fmt.Errorf("%w: %d nodes named, and %s is there too; name as many nodes as there are certificates of", ErrRotation, o.Nodes, o.nodeDir(i))
		}
	}
	return nil
}

// giveCA replaces what the nodes trust.
func (o *MakeOptions) giveCA(ca []byte) error {
	for i := range o.Nodes {
		if err := write(MadeFiles(o.nodeDir(i)).CA, ca); err != nil {
			return err
		}
	}
	return nil
}

// blocks are the certificates of a file in PEM; what does not parse is left out.
func blocks(text []byte) (out []*x509.Certificate) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return out
		}
		if c, err := x509.ParseCertificate(b.Bytes); err == nil {
			out = append(out, c)
		}
	}
}
