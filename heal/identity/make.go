package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"healkv/dataplane/proto"
)

// Names of the files that Make makes.
const (
	CAFile    = "ca.pem"
	CAKeyFile = "ca-key.pem"
	CertFile  = "cert.pem"
	KeyFile   = "key.pem"
)

// MakeOptions say which certificates to make.
type MakeOptions struct {
	Dir     string // ca.pem and ca-key.pem; an authority that is there already signs
	Cluster string // the cluster's id; "": the one of the authority that is there
	Nodes   int
	// NodeDir is where ca.pem, cert.pem and key.pem of a node go; nil:
	// Dir/node-i. What is there is replaced.
	NodeDir func(i int) string
	// Hosts are names or addresses by node, for tools that compare them; nil:
	// none. This package compares nothing of it.
	Hosts []string
	Valid time.Duration // of the nodes' certificates
	Now   time.Time
}

// caValid is how long an authority that Make makes is valid.
const caValid = 20 * 365 * 24 * time.Hour

// backdate lets clocks that are somewhat behind accept a new certificate.
const backdate = time.Hour

// MadeFiles names the files of a node in its directory.
func MadeFiles(dir string) Files {
	return Files{CA: filepath.Join(dir, CAFile), Cert: filepath.Join(dir, CertFile), Key: filepath.Join(dir, KeyFile)}
}

// Make makes a certificate for every node, and the authority that signs them
// unless there is one. Keys are ECDSA over P-256, files have mode 0600. It
// returns the cluster's id and whether the authority is new.
func Make(o MakeOptions) (cluster string, made bool, err error) {
	switch {
	case o.Nodes < 1 || o.Nodes > proto.NodesMax:
		return "", false, fmt.Errorf("identity: certificates for %d nodes, want 1 to %d", o.Nodes, proto.NodesMax)
	case o.Hosts != nil && len(o.Hosts) != o.Nodes:
		return "", false, fmt.Errorf("identity: %d hosts for %d nodes: name one for each, in order", len(o.Hosts), o.Nodes)
	case o.Valid <= 0:
		return "", false, fmt.Errorf("identity: certificates valid for %v, want more than 0", o.Valid)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return "", false, fmt.Errorf("identity: %w", err)
	}
	a, made, err := o.authority()
	if err != nil {
		return "", false, err
	}
	for i := range o.Nodes {
		if err := a.node(&o, i); err != nil {
			return "", false, err
		}
	}
	return a.cluster, made, nil
}

type authority struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	pem     []byte
}

// authority reads the one in Dir, or makes it.
func (o *MakeOptions) authority() (*authority, bool, error) {
	certPath, keyPath := filepath.Join(o.Dir, CAFile), filepath.Join(o.Dir, CAKeyFile)
	_, certErr := os.Stat(certPath)
	_, keyErr := os.Stat(keyPath)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		a, err := o.newAuthority(certPath, keyPath)
		return a, true, err
	case certErr != nil || keyErr != nil:
		return nil, false, fmt.Errorf("%w: an authority is %s and %s, and only one of them is there: %w", ErrFiles, certPath, keyPath, errors.Join(certErr, keyErr))
	}
	certPEM, err := read(certPath, "authority", 0o022)
	if err != nil {
		return nil, false, err
	}
	keyPEM, err := read(keyPath, "authority's key", 0o077)
	if err != nil {
		return nil, false, err
	}
	a := &authority{pem: certPEM}
	found := blocks(certPEM)
	if len(found) == 0 {
		return nil, false, fmt.Errorf("%w: authority %s holds no certificate in PEM", ErrFiles, certPath)
	}
	if b, _ := pem.Decode(keyPEM); b == nil {
		err = errors.New("no PEM")
	} else if key, parseErr := x509.ParsePKCS8PrivateKey(b.Bytes); parseErr != nil {
		err = parseErr
	} else if k, ok := key.(*ecdsa.PrivateKey); !ok {
		err = fmt.Errorf("a key of type %T, want ECDSA", key)
	} else if i := slices.IndexFunc(found, func(c *x509.Certificate) bool { return k.PublicKey.Equal(c.PublicKey) }); i < 0 {
		err = fmt.Errorf("not the key of %s", certPath)
	} else {
		a.key, a.cert = k, found[i] // of two, while the authority changes, the one that signs
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w: authority's key %s: %w", ErrFiles, keyPath, err)
	}
	for _, u := range a.cert.URIs {
		if u.Scheme == scheme {
			a.cluster = u.Host
		}
	}
	if a.cluster == "" || o.Cluster != "" && o.Cluster != a.cluster {
		return nil, false, fmt.Errorf("%w: authority %s is of cluster %q, asked for is %q; use another directory", ErrFiles, certPath, a.cluster, o.Cluster)
	}
	if o.Now.After(a.cert.NotAfter) {
		return nil, false, fmt.Errorf("%w: authority %s was valid until %s; make a new one in another directory", ErrFiles, certPath, day(a.cert.NotAfter))
	}
	return a, false, nil
}

func (o *MakeOptions) newAuthority(certPath, keyPath string) (*authority, error) {
	if o.Cluster == "" {
		return nil, errors.New("identity: a new authority needs the cluster's id")
	}
	a, keyPEM, err := o.makeAuthority(o.Cluster)
	if err != nil {
		return nil, err
	}
	if err := write(keyPath, keyPEM); err != nil {
		return nil, err
	}
	return a, write(certPath, a.pem)
}

// makeAuthority makes one, and its key in PEM.
func (o *MakeOptions) makeAuthority(cluster string) (*authority, []byte, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "HealKV cluster " + short(cluster)},
		NotBefore: o.Now.Add(-backdate), NotAfter: o.Now.Add(caValid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{{Scheme: scheme, Host: cluster}},
	}
	a := &authority{cluster: cluster, key: key}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, nil, fmt.Errorf("identity: authority: %w", err)
	}
	a.pem = certPEM(der)
	return a, keyPEM, nil
}

// node makes the files of one node.
func (a *authority) node(o *MakeOptions, i int) error {
	key, keyPEM, err := newKey()
	if err != nil {
		return err
	}
	name := Name{a.cluster, proto.NodeID(i)}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: fmt.Sprintf("HealKV node %d of %s", i, short(a.cluster))},
		NotBefore: o.Now.Add(-backdate), NotAfter: o.Now.Add(o.Valid),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{name.URI()},
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	if o.Hosts != nil && o.Hosts[i] != "" {
		if ip := net.ParseIP(o.Hosts[i]); ip != nil {
			t.IPAddresses = []net.IP{ip}
		} else {
			t.DNSNames = []string{o.Hosts[i]}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("identity: certificate of node %d: %w", i, err)
	}
	dir := o.nodeDir(i)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	f := MadeFiles(dir)
	// A node that reads between the two finds a key that does not match, and
	// reads again at the next handshake.
	return errors.Join(write(f.CA, a.pem), write(f.Key, keyPEM), write(f.Cert, certPEM(der)))
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serial is random and positive, of 127 bits (RFC 5280, 4.1.2.2).
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[0] &= 0x7f
	b[15] |= 1
	return new(big.Int).SetBytes(b[:])
}

func short(cluster string) string { return cluster[:min(8, len(cluster))] }

// write replaces a file, for this user only and completely or not at all.
func write(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("identity: write %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("identity: write %s: %w", path, err)
	}
	return nil
}
