package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written with a binary unit.
type Size int64

const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

var sizeUnits = []struct {
	name string
	unit Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}

// ParseSize reads "512MiB" or "64 KiB". The unit is required, so that nobody
// has to guess whether 512 meant bytes or megabytes; decimal units are refused
// because half the world writes MB and means MiB.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/int64(u.unit) {
			break
		}
		return Size(n) * u.unit, nil
	}
	return 0, fmt.Errorf("not a size: want a whole number and a unit B, KiB, MiB, GiB or TiB, such as 512MiB")
}

func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.unit == 0 {
			return strconv.FormatInt(int64(s/u.unit), 10) + u.name
		}
	}
	return "0B"
}

func (s *Size) Set(text string) (err error) {
	v, err := ParseSize(text)
	if err == nil {
		*s = v
	}
	return err
}

func (s Size) MarshalText() ([]byte, error)  { return []byte(s.String()), nil }
func (s *Size) UnmarshalText(b []byte) error { return s.Set(string(b)) }

// Duration is a time span. Auto leaves the choice to the node.
type Duration time.Duration

// Auto is written "auto"; only keys that say so accept it.
const Auto Duration = -1

func (d Duration) String() string {
	if d == Auto {
		return "auto"
	}
	return time.Duration(d).String()
}

func (d *Duration) Set(text string) error {
	if text == "auto" {
		*d = Auto
		return nil
	}
	v, err := time.ParseDuration(text)
	if err != nil || v < 0 {
		return fmt.Errorf("not a duration: want a number and a unit us, ms, s or m, such as 200ms")
	}
	*d = Duration(v)
	return nil
}

func (d Duration) MarshalText() ([]byte, error)  { return []byte(d.String()), nil }
func (d *Duration) UnmarshalText(b []byte) error { return d.Set(string(b)) }

// HashSeed is the key of the keyed hash over client keys, 16 hex digits.
type HashSeed uint64

func (h HashSeed) String() string { return fmt.Sprintf("%016x", uint64(h)) }

func (h *HashSeed) Set(text string) error {
	v, err := strconv.ParseUint(text, 16, 64)
	if err != nil || len(text) != 16 {
		return fmt.Errorf("not a hash seed: want 16 hex digits")
	}
	*h = HashSeed(v)
	return nil
}

func (h HashSeed) MarshalText() ([]byte, error)  { return []byte(h.String()), nil }
func (h *HashSeed) UnmarshalText(b []byte) error { return h.Set(string(b)) }

// value is what the table knows of a field: flag.Value, without flag.
type value interface {
	String() string
	Set(string) error
}

type intValue struct{ p *int }

func (v intValue) String() string { return strconv.Itoa(*v.p) }
func (v intValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("not a whole number")
	}
	*v.p = n
	return nil
}

type boolValue struct{ p *bool }

func (v boolValue) String() string { return strconv.FormatBool(*v.p) }
func (v boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("not true or false")
	}
	*v.p = b
	return nil
}

type stringValue struct{ p *string }

func (v stringValue) String() string     { return *v.p }
func (v stringValue) Set(s string) error { *v.p = s; return nil }
