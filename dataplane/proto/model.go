package proto

import (
	"fmt"
	"strings"
)

// Model is a persistency model of DDP (MICRO'21), table 1, under linearizable
// consistency. One per cluster.
type Model uint8

const (
	Synchronous Model = iota
	Strict
	ReadEnforced
	Eventual
	Scope
	modelCount
)

// Gate says how far a write must have come at every member.
type Gate uint8

const (
	Applied Gate = iota // ACK_C of all
	Durable             // ACK_P of all; implies Applied
)

// FlushWhen says when a follower flushes what it has applied.
type FlushWhen uint8

const (
	FlushEveryBurst FlushWhen = iota
	FlushBackground           // bounded by time and bytes; PERSIST asks for one at once
)

// Gates is one row of the table that makes the five models data: when the
// client is answered, when the record becomes readable, when a follower
// flushes (protocol.md, "The five models are a table").
type Gates struct {
	Name   string
	Answer Gate
	Read   Gate
	Flush  FlushWhen
	Scopes bool // PERSIST is part of the model
}

var gates = [modelCount]Gates{
	Synchronous:  {"synchronous", Durable, Durable, FlushEveryBurst, false},
	Strict:       {"strict", Durable, Applied, FlushEveryBurst, false},
	ReadEnforced: {"read-enforced", Applied, Durable, FlushEveryBurst, false},
	Eventual:     {"eventual", Applied, Applied, FlushBackground, false},
	Scope:        {"scope", Applied, Applied, FlushBackground, true},
}

// Gates is the model's row.
func (m Model) Gates() *Gates { return &gates[m] }

func (m Model) String() string {
	if m >= modelCount {
		return fmt.Sprintf("model(%d)", uint8(m))
	}
	return gates[m].Name
}

// Models lists all five, strongest promise first.
func Models() []Model { return []Model{Synchronous, Strict, ReadEnforced, Eventual, Scope} }

// ParseModel reads a model's name as the configuration spells it.
func ParseModel(s string) (Model, error) {
	var names []string
	for m := range modelCount {
		if gates[m].Name == strings.ToLower(s) {
			return m, nil
		}
		names = append(names, gates[m].Name)
	}
	return 0, fmt.Errorf("persistency model %q: want one of %s", s, strings.Join(names, ", "))
}

// MarshalText and UnmarshalText spell a model by name in JSON and TOML.
func (m Model) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m *Model) UnmarshalText(b []byte) (err error) {
	*m, err = ParseModel(string(b))
	return err
}
