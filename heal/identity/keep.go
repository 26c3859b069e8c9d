package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
	"sync"
	"time"

	"healkv/dataplane/plant"
)

// Keeper is a node's Files while it runs: what they hold at present, or what
// they held when they would do last. Files that are replaced one after the
// other, or wrongly, so cost nothing until the certificate at hand expires. Any
// goroutine.
type Keeper struct {
	files Files
	self  Name
	log   *slog.Logger

	// looking is held from before the files are read until what they hold is
	// kept: who read them earlier must not come later, and bring back what they
	// held before.
	looking sync.Mutex

	mu      sync.Mutex
	kept    *Credentials // nil: nothing yet
	rotated time.Time    // when they changed last; zero: not since the start
	why     string       // why what the files hold now is not taken; "": it is
}

// Keep watches the files of node self; log, if not nil, is told of every change.
func (f Files) Keep(self Name, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{files: f, self: self, log: log}
}

// Look reads the files. changed: they hold something else than before, and that
// is what counts from now on. An error, ErrFiles, says what is wrong with them;
// what was there before is kept.
func (k *Keeper) Look() (changed bool, err error) {
	k.looking.Lock()
	defer k.looking.Unlock()
	c, err := k.load()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if k.why != err.Error() && k.kept != nil {
			k.log.Error("the certificate files will not do; what they held before is kept", "until", k.kept.Own.Leaf.NotAfter, "err", err)
		}
		k.why = err.Error()
		return false, err
	}
	mended := k.why != ""
	k.why = ""
	if k.kept != nil && k.kept.equal(c) {
		if mended {
			k.log.Info("the certificate files are good again")
		}
		return false, nil
	}
	if k.kept != nil {
		k.rotated = time.Now()
		k.log.Info("new certificates", "not_after", c.Own.Leaf.NotAfter)
	}
	changed, k.kept = k.kept != nil, c
	return changed, nil
}

// load is Files.Load, which costs about half a millisecond; but what has not
// changed and has been found good stays so until something of it expires. Every
// handshake asks, and after a death those of all nodes come at once.
func (k *Keeper) load() (*Credentials, error) {
	t, err := k.files.read()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	kept := k.kept
	k.mu.Unlock()
	if kept != nil && kept.text.equal(&t) && time.Now().Before(kept.end) {
		return kept, nil
	}
	return k.files.check(k.self, t)
}

// Present is what to prove oneself with now. ErrFiles if the files will not do
// and nothing valid is kept.
func (k *Keeper) Present() (*Credentials, error) {
	_, err := k.Look()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && (k.kept == nil || !k.kept.validAt(time.Now()) || plant.Is(plant.IdentKept)) {
		return nil, err
	}
	return k.kept, nil
}

// Status is what there is to say of a node's certificate.
type Status struct {
	NotAfter    time.Time `json:"not_after"`              // the end of the one in use, or of what is between it and its authority, or of that
	Authorities int       `json:"authorities"`            // that are trusted: one, or two while it is replaced
	Rotated     time.Time `json:"last_rotation,omitzero"` // since the start
	Error       string    `json:"error,omitempty"`        // why what the files hold now is not in use
}

// DaysLeft of the certificate in use; below 0: it has expired.
func (s *Status) DaysLeft(now time.Time) float64 { return s.NotAfter.Sub(now).Hours() / 24 }

// Status of what is in use. It reads no file.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Rotated: k.rotated, Error: k.why}
	if k.kept != nil {
		s.NotAfter, s.Authorities = k.kept.end, len(k.kept.authorities)
	}
	return s
}

func (c *Credentials) validAt(now time.Time) bool {
	return !slices.ContainsFunc(c.chain, func(x *x509.Certificate) bool { return now.After(x.NotAfter) })
}

func (c *Credentials) equal(d *Credentials) bool {
	return slices.EqualFunc(c.Own.Certificate, d.Own.Certificate, bytes.Equal) && c.Roots.Equal(d.Roots)
}

// Still checks the chain of a peer that is connected against the present
// authorities, at a time: ErrUntrusted, ErrExpired, nil.
func (c *Credentials) Still(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return ErrMissing
	}
	return verifyAt(chain, c.Roots, now, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// Both is a configuration for either end of connections between any two nodes
// of the cluster. It looks at the files again at every handshake.
func (f Files) Both(self Name) *tls.Config {
	k := f.Keep(self, nil)
	own := func() (*tls.Certificate, error) {
		c, err := k.Present()
		if err != nil {
			return nil, err
		}
		return &c.Own, nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() },
		ClientAuth:           tls.RequireAnyClientCert, // and verified below, as in Dial
		InsecureSkipVerify:   true,
		VerifyConnection: func(s tls.ConnectionState) error {
			c, err := k.Present()
			if err != nil {
				return err
			}
			return c.Dial(self, -1, "").VerifyConnection(s)
		},
	}
}
