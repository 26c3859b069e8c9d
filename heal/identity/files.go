package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
)

// fileBytesMax bounds a file of certificates.
const fileBytesMax = 1 << 20

// Files names what a node proves itself with, in PEM. One file may hold both
// certificate and key.
type Files struct {
	CA   string // authorities that sign the nodes' certificates: one, or two while they change
	Cert string // this node's certificate, then those between it and the authority, if any
	Key  string // its key; mode 0600 or stricter, of this user
}

// Credentials is what Files held when they were read.
type Credentials struct {
	Roots *x509.CertPool
	Own   tls.Certificate // with its Leaf
	chain []*x509.Certificate
	// authorities are those of Roots, each once; end is when the chain, with the
	// one that signed it, is good no more.
	authorities []*x509.Certificate
	end         time.Time
	text        text // what the files held
}

// until is when a chain that some of the authorities have signed ends: with the
// first of its certificates, or with the last of the authorities that signed it.
func until(chain, authorities []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	var signed time.Time
	for _, a := range authorities {
		if chain[len(chain)-1].CheckSignatureFrom(a) == nil && a.NotAfter.After(signed) {
			signed = a.NotAfter
		}
	}
	if !signed.IsZero() && signed.Before(end) {
		end = signed
	}
	return end
}

// Load reads and checks the files of node self, ErrFiles if they do not do: the
// text says which one, why, and what to do.
func (f Files) Load(self Name) (*Credentials, error) {
	t, err := f.read()
	if err != nil {
		return nil, err
	}
	return f.check(self, t)
}

// text is what the files hold.
type text struct{ ca, cert, key []byte }

func (t *text) equal(u *text) bool {
	return bytes.Equal(t.ca, u.ca) && bytes.Equal(t.cert, u.cert) && bytes.Equal(t.key, u.key)
}

func (f Files) read() (t text, err error) {
	if t.ca, err = read(f.CA, "authority", 0o022); err != nil {
		return t, err
	}
	if t.cert, err = read(f.Cert, "certificate", 0o022); err != nil {
		return t, err
	}
	t.key, err = read(f.Key, "key", 0o077)
	return t, err
}

// check makes credentials of it if it will do.
func (f Files) check(self Name, t text) (_ *Credentials, err error) {
	ca, cert, key := t.ca, t.cert, t.key
	c := &Credentials{Roots: x509.NewCertPool(), text: t}
	if !c.Roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%w: authority %s holds no certificate in PEM", ErrFiles, f.CA)
	}
	if c.Own, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("%w: certificate %s with key %s: %w: take both from the same directory that `node certs` made", ErrFiles, f.Cert, f.Key, err)
	}
	if c.Own.Leaf == nil {
		if c.Own.Leaf, err = x509.ParseCertificate(c.Own.Certificate[0]); err != nil {
			return nil, fmt.Errorf("%w: certificate %s: %w", ErrFiles, f.Cert, err)
		}
	}
	chain, err := parse(c.Own.Certificate)
	if c.chain = chain; err != nil {
		return nil, fmt.Errorf("%w: certificate %s: %w", ErrFiles, f.Cert, err)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := verify(chain, c.Roots, use); err != nil {
			return nil, fmt.Errorf("%w: certificate %s (valid %s to %s), authority %s: %w; issue a new one, with `node certs` for instance",
				ErrFiles, f.Cert, day(c.Own.Leaf.NotBefore), day(c.Own.Leaf.NotAfter), f.CA, err)
		}
	}
	for _, a := range blocks(ca) {
		if !slices.ContainsFunc(c.authorities, a.Equal) {
			c.authorities = append(c.authorities, a)
		}
	}
	c.end = until(chain, c.authorities)
	if err := is(c.Own.Leaf, self); err != nil {
		return nil, fmt.Errorf("%w: certificate %s: %w; this is %v: name this node's own certificate", ErrFiles, f.Cert, err, self)
	}
	return c, nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// read reads a regular file of which nobody else has the rights in denied.
func read(path, what string, denied uint32) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: no file named for the %s; `node certs` makes them", ErrFiles, what)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w; `node certs` makes the files", ErrFiles, what, err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrFiles, what, path, err)
	}
	uid := uint32(os.Geteuid())
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%w: %s %s is not a regular file", ErrFiles, what, path)
	case denied == 0o077 && st.Uid != uid:
		return nil, fmt.Errorf("%w: %s %s belongs to user %d, this process is user %d: chown it, or give the node a key of its own", ErrFiles, what, path, st.Uid, uid)
	case denied == 0o077 && plant.Is(plant.IdentKey):
	case st.Mode&denied != 0 && denied == 0o077:
		return nil, fmt.Errorf("%w: %s %s has mode %#o, others can read it: chmod 0600 it, and issue a new key if somebody may have", ErrFiles, what, path, st.Mode&0o777)
	case st.Mode&denied != 0:
		return nil, fmt.Errorf("%w: %s %s has mode %#o, others can replace what is in it: chmod go-w it", ErrFiles, what, path, st.Mode&0o777)
	case st.Size > fileBytesMax:
		return nil, fmt.Errorf("%w: %s %s has %d bytes, at most %d", ErrFiles, what, path, st.Size, fileBytesMax)
	}
	b, err := io.ReadAll(io.LimitReader(file, fileBytesMax))
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrFiles, what, path, err)
	}
	return b, nil
}
