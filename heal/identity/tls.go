package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Accept is what the end of a connection that was dialled needs: whoever dials
// must show a certificate of this cluster for another node. protocol is agreed
// on by name and version (ALPN); "" for none.
func (c *Credentials) Accept(self Name, protocol string) *tls.Config {
	t := c.common(protocol)
	// Checked by the library first, whose alerts tell the peer more than those
	// for errors of VerifyConnection do.
	t.ClientAuth, t.ClientCAs = tls.RequireAndVerifyClientCert, c.Roots
	t.VerifyConnection = func(s tls.ConnectionState) error { return c.checkPeer(&s, self, -1) }
	return t
}

// Dial is what the dialling end needs: the other end must be node peer of this
// cluster; any node but ourselves if peer is negative.
func (c *Credentials) Dial(self Name, peer int, protocol string) *tls.Config {
	t := c.common(protocol)
	// Host names say nothing about nodes: VerifyConnection checks authority,
	// time and URI in place of what this turns off.
	t.InsecureSkipVerify = true
	t.VerifyConnection = func(s tls.ConnectionState) error { return c.checkPeer(&s, self, peer) }
	return t
}

func (c *Credentials) common(protocol string) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.Own}, SessionTicketsDisabled: true}
	if protocol != "" {
		t.NextProtos = []string{protocol}
	}
	return t
}

// checkPeer is ErrNode unless the other end is node peer, any but ourselves if
// peer is negative; or what peer says of its certificate.
func (c *Credentials) checkPeer(s *tls.ConnectionState, self Name, peer int) error {
	n, err := c.peer(s, self.Cluster)
	switch {
	case err != nil:
		return err
	case peer >= 0 && n.Node != proto.NodeID(peer) && !plant.Is(plant.IdentNode):
		return fmt.Errorf("%w: it is %v, node %d was expected there", ErrNode, n, peer)
	case n.Node == self.Node && !plant.Is(plant.IdentSelf):
		return fmt.Errorf("%w: it is %v, which is this node itself", ErrNode, n)
	}
	return nil
}

// peer checks what the other end showed and says who it is.
func (c *Credentials) peer(s *tls.ConnectionState, cluster string) (Name, error) {
	if len(s.PeerCertificates) == 0 {
		return Name{}, ErrMissing
	}
	// For either role: nodes have both.
	if err := verify(s.PeerCertificates, c.Roots, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth); err != nil && !plant.Is(plant.IdentTrust) {
		return Name{}, err
	}
	n, err := Of(s.PeerCertificates[0])
	if err == nil && n.Cluster != cluster && !plant.Is(plant.IdentCluster) {
		err = fmt.Errorf("%w: it is %v, this cluster is %s", ErrCluster, n, cluster)
	}
	return n, err
}

// Peer is the node whose certificate the other end of a connection has shown,
// after a handshake in which it was checked.
func Peer(s *tls.ConnectionState) (int, error) {
	if len(s.PeerCertificates) == 0 {
		return -1, ErrMissing
	}
	n, err := Of(s.PeerCertificates[0])
	return int(n.Node), err
}

// is checks whose certificate it is.
func is(c *x509.Certificate, want Name) error {
	n, err := Of(c)
	switch {
	case err != nil:
		return err
	case n.Cluster != want.Cluster:
		return fmt.Errorf("%w: it is %v", ErrCluster, n)
	case n.Node != want.Node && !plant.Is(plant.IdentOwn):
		return fmt.Errorf("%w: it is %v", ErrNode, n)
	}
	return nil
}

// verify checks a chain against the authorities and the clock.
func verify(chain []*x509.Certificate, roots *x509.CertPool, uses ...x509.ExtKeyUsage) error {
	return verifyAt(chain, roots, time.Time{}, uses...)
}

// verifyAt is verify at a time; the zero one is now.
func verifyAt(chain []*x509.Certificate, roots *x509.CertPool, at time.Time, uses ...x509.ExtKeyUsage) error {
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: uses, CurrentTime: at}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	return Named(err)
}

// Named puts the package's error before what crypto/x509 and crypto/tls say of
// a certificate; others, nil among them, stay as they are.
func Named(err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	for _, ours := range []error{ErrFiles, ErrUntrusted, ErrExpired, ErrName, ErrCluster, ErrNode, ErrMissing} {
		if errors.Is(err, ours) {
			return err
		}
	}
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: %w", ErrExpired, err)
	case errors.As(err, &invalid):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return err
}

func parse(der [][]byte) (chain []*x509.Certificate, err error) {
	for _, b := range der {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}
