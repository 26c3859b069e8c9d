package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Source collects a configuration from its three places and remembers where
// each value came from, so that a complaint can name the place.
type Source struct {
	Config Config
	origin map[string]string // key name -> "file.toml", "environment HEALKV_X", "flag --x"
	flags  map[string]string // key name -> text, in effect after everything else
}

// New starts from the defaults.
func New() *Source {
	return &Source{Config: Default(), origin: map[string]string{}, flags: map[string]string{}}
}

// AddFlags declares a flag for every key that keep accepts (nil: all). Values
// are spelled-checked at once and applied by Flags.
func (s *Source) AddFlags(fs *flag.FlagSet, keep func(*Key) bool) {
	for i := range Keys {
		k := &Keys[i]
		if keep != nil && !keep(k) {
			continue
		}
		set := func(text string) error {
			var scratch Config
			if err := k.Set(&scratch, text); err != nil {
				return fmt.Errorf("%w%s", err, unless(k, err))
			}
			s.flags[k.Name] = text
			return nil
		}
		usage := k.Help + " (" + k.Allowed + ")"
		if k.IsBool() {
			fs.BoolFunc(k.Flag(), usage, set)
		} else {
			fs.Func(k.Flag(), usage, set)
		}
	}
}

// Given tells whether the key was set by a flag or the environment.
func (s *Source) Given(name string) bool {
	o := s.origin[name]
	return strings.HasPrefix(o, "flag ") || strings.HasPrefix(o, "environment ")
}

// Origin says where a value came from.
func (s *Source) Origin(name string) string {
	if o := s.origin[name]; o != "" {
		return o
	}
	return "default"
}

// File reads a TOML file over what is there. Directories and files in it are
// relative to the file.
func (s *Source) File(path string) error {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("config: %s: no such file; `node cluster` writes one for every node, `node help config` shows an example", path)
	case err != nil:
		return fmt.Errorf("config: %w", err)
	}
	if err := Decode(path, text, &s.Config); err != nil {
		return err
	}
	var raw map[string]any
	if err := toml.Unmarshal(text, &raw); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	for i := range Keys {
		k := &Keys[i]
		section, name, nested := strings.Cut(k.Name, ".")
		value, there := raw[section]
		if nested {
			sub, _ := value.(map[string]any)
			value, there = sub[name]
		}
		if !there {
			continue
		}
		// The decoder takes a bare number for a size or a duration: it would
		// mean bytes or nanoseconds, which nobody who writes it has in mind.
		if _, quoted := value.(string); !quoted && !k.bare() {
			return fmt.Errorf("config: %s: %s = %v is not allowed: write it in quotes, with its unit; want %s", path, k.Name, value, k.Allowed)
		}
		s.from(k.Name, path)
	}
	dir := filepath.Dir(path)
	for _, p := range []*string{&s.Config.PoolDir, &s.Config.IndexDir, &s.Config.StateDir, &s.Config.RunDir, &s.Config.Resp.Socket,
		&s.Config.TLS.CA, &s.Config.TLS.Cert, &s.Config.TLS.Key} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	if info, err := os.Stat(path); err == nil && s.origin["resp.password"] == path && s.Config.Resp.Password != "" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("config: %s holds resp.password and others can read it (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	return nil
}

// Decode reads TOML strictly into v: an unknown key is an error that names it
// and its line, as is a value of the wrong kind.
func Decode(path string, text []byte, v any) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(v)
	var missing *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing) && len(missing.Errors) > 0:
		first := &missing.Errors[0]
		row, _ := first.Position()
		key := strings.Join(first.Key(), ".")
		return fmt.Errorf("config: %s:%d: unknown key %q%s", path, row, key, didYouMean(key))
	case errors.As(err, &bad):
		row, _ := bad.Position()
		key := strings.Join(bad.Key(), ".")
		if key != "" {
			return fmt.Errorf("config: %s:%d: %s: %s%s", path, row, key, strings.TrimPrefix(bad.Error(), "toml: "), unless(Lookup(key), bad))
		}
		return fmt.Errorf("config: %s:%d: %s", path, row, strings.TrimPrefix(bad.Error(), "toml: "))
	default:
		return fmt.Errorf("config: %s: %w", path, err)
	}
}

// forTests are variables that a node inherits from the test that started it:
// the file that counts go to, and the bug that a build for tests has planted.
var forTests = []string{"HEALKV_TALLY", "HEALKV_PLANT"}

// Env takes every HEALKV_ variable of environ ("NAME=value"). A name that is
// no key is an error; HEALKV_TEST_ and forTests are left to tests.
func (s *Source) Env(environ []string) error {
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "HEALKV_") || strings.HasPrefix(name, "HEALKV_TEST_") || slices.Contains(forTests, name) {
			continue
		}
		k := find(func(k *Key) bool { return k.Env() == name })
		if k == nil {
			return fmt.Errorf("config: environment: unknown variable %s; `node help config` lists them", name)
		}
		if err := s.set(k, "environment "+name, text); err != nil {
			return err
		}
	}
	return nil
}

// Flags applies what the flag set parsed.
func (s *Source) Flags() error {
	for i := range Keys {
		k := &Keys[i]
		if text, given := s.flags[k.Name]; given {
			if err := s.set(k, "flag --"+k.Flag(), text); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Source) set(k *Key, origin, text string) error {
	if err := k.Set(&s.Config, text); err != nil {
		return fmt.Errorf("config: %s: %s = %s: %w%s", origin, k.Name, k.shown(text), err, unless(k, err))
	}
	s.from(k.Name, origin)
	return nil
}

// from notes where a value came from. A lease that was chosen brings a drift and
// a lag that fit it.
func (s *Source) from(name, origin string) {
	s.origin[name] = origin
	if s.origin["drift"] == "" && s.origin["lease"] != "" {
		s.Config.Drift = max(s.Config.Lease/10, Duration(time.Millisecond))
	}
	if s.origin["slow"] == "" && s.origin["lease"] != "" {
		s.Config.Slow = max(s.Config.Lease/2, Duration(500*time.Millisecond))
	}
}

// Validate checks every value. The first bad one is reported with its place.
func (s *Source) Validate() error {
	return s.validate(func(*Key) bool { return true })
}

// ValidateShared checks the values that all nodes of a cluster have in common
// and that do not have to exist before the cluster is made.
func (s *Source) ValidateShared() error {
	return s.validate(func(k *Key) bool {
		return !k.PerNode && k.Name != "cluster_id" && k.Name != "run_dir"
	})
}

func (s *Source) validate(pick func(*Key) bool) error {
	c := &s.Config
	for i := range Keys {
		k := &Keys[i]
		if pick(k) && k.check != nil && !k.check(c) {
			return fmt.Errorf("config: %s: %s = %s is not allowed: want %s", s.Origin(k.Name), k.Name, k.shown(k.Text(c)), k.Allowed)
		}
	}
	if c.Resp.Password == "" && !IsLoopback(c.Resp.Listen) {
		return fmt.Errorf("config: %s: resp.listen = %q: %w", s.Origin("resp.listen"), c.Resp.Listen, errPassword)
	}
	return nil
}

// unless says what is allowed for k, nil for a key that is not known: if the
// error is about the value, and has not said so.
func unless(k *Key, err error) string {
	text := err.Error()
	if k == nil || strings.Contains(text, k.Allowed) || strings.Contains(text, "already defined") {
		return ""
	}
	return "; allowed: " + k.Allowed
}

func (k *Key) shown(text string) string {
	switch {
	case k.Secret:
		return "(not shown)"
	case k.bare():
		return text
	}
	return fmt.Sprintf("%q", text)
}

func find(match func(*Key) bool) *Key {
	for i := range Keys {
		if match(&Keys[i]) {
			return &Keys[i]
		}
	}
	return nil
}

// Lookup finds a key by its name in a file; nil if there is none.
func Lookup(name string) *Key { return find(func(k *Key) bool { return k.Name == name }) }

// didYouMean names the key that is at most two edits away.
func didYouMean(name string) string {
	best, at := "", 3
	for i := range Keys {
		if d := distance(name, Keys[i].Name); d < at {
			best, at = Keys[i].Name, d
		}
	}
	if best == "" {
		return "; `node help config` lists the keys"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
