package explore

import (
	"fmt"
	"strings"

	"healkv/dataplane/proto"
)

// Script is a configuration and what happens in it, as text:
//
//	# comment
//	model synchronous
//	nodes 3
//	puts 2
//	fine
//	put 0 a
//	listen 1 0
//	...
//
// The counts default to what the actions need. "settle" does everything that
// nobody has to ask for, until nothing moves.
type Script struct {
	Config Config // the actions are its Prefix
}

// ParseScript reads one.
func ParseScript(name, text string) (*Script, error) {
	s := &Script{Config{Name: name, Nodes: 3, Keys: 2}}
	c := &s.Config
	numbers := map[string]*int{"nodes": &c.Nodes, "keys": &c.Keys, "puts": &c.Puts, "deletes": &c.Deletes, "persists": &c.Persists, "gets": &c.Gets,
		"crashes": &c.Crashes, "powers": &c.Powers, "fences": &c.Fences}
	flags := map[string]*bool{"fine": &c.Fine, "bursts": &c.Bursts, "lazy-superblock": &c.LazySuper, "full-copy": &c.FullCopy, "no-restart": &c.NoRestart}
	var need [actionKinds]int
	powers := 0
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
			continue
		case len(f) == 1 && flags[f[0]] != nil:
			*flags[f[0]] = true
			continue
		case len(f) == 2 && numbers[f[0]] != nil:
			if _, err := fmt.Sscan(f[1], numbers[f[0]]); err != nil {
				return nil, fmt.Errorf("explore: %s:%d: %w", name, i+1, err)
			}
			continue
		case len(f) == 2 && f[0] == "model":
			m, err := proto.ParseModel(f[1])
			if err != nil {
				return nil, fmt.Errorf("explore: %s:%d: %w", name, i+1, err)
			}
			c.Model = m
			continue
		}
		if line = strings.Join(f, " "); line != "settle" {
			a, err := ParseAction(line)
			if err != nil {
				return nil, fmt.Errorf("%w (%s:%d)", err, name, i+1)
			}
			need[a.kind()]++
			if a.kind() == actCrash && a.arg() >= crashPower {
				powers++
			}
		}
		c.Prefix = append(c.Prefix, line)
	}
	for _, x := range []struct {
		have *int
		need int
	}{{&c.Puts, need[actPut]}, {&c.Deletes, need[actDelete]}, {&c.Persists, need[actPersist]}, {&c.Gets, need[actGet]}, {&c.Crashes, need[actCrash]},
		{&c.Powers, powers}, {&c.Fences, need[actLease] + need[actDrop]}} {
		*x.have = max(*x.have, x.need)
	}
	return s, c.check()
}

// Text is the script of a violation, for ParseScript.
func (v *Violation) ScriptText(c *Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\nmodel %v\nnodes %d\nkeys %d\n", v.Text, c.Model, c.Nodes, c.Keys)
	for _, x := range []struct {
		on   bool
		word string
	}{{c.Fine, "fine"}, {c.Bursts, "bursts"}, {c.LazySuper, "lazy-superblock"}, {c.FullCopy, "full-copy"}, {c.NoRestart, "no-restart"}} {
		if x.on {
			fmt.Fprintln(&b, x.word)
		}
	}
	for _, line := range c.Prefix {
		fmt.Fprintln(&b, line)
	}
	for _, a := range v.Script {
		fmt.Fprintln(&b, a)
	}
	return b.String()
}

// Replay carries the script out on live objects that never go back, leaving
// out what is not possible. Then everything that nobody has to ask for may
// happen, and the world must come to rest. bad is what went wrong, "" if
// nothing did.
func (s *Script) Replay() (bad string, skipped int, err error) {
	e, err := New(&s.Config)
	if err != nil {
		return "", 0, err
	}
	e.Direct, e.Skip = true, true
	w, v := e.start()
	switch {
	case v != nil:
		bad = v.Text
	case w.bad != "":
		bad = w.bad
	default:
		bad = w.end()
	}
	if bad != "" {
		bad += e.Trace
	}
	return bad, e.Skipped, nil
}

// end lets everything happen that faults and clients do not bring, and looks
// whether the world comes to rest as it should.
func (w *world) end() string {
	for range 1000 {
		loc, h := w.loc, w.h
		w.settle()
		for n := range proto.NodeID(w.e.c.Nodes) {
			for _, k := range [...]actionKind{actRemove, actBegin} {
				if w.bad == "" {
					x := *w
					if x.Do(act(k, n, 0)) {
						*w = x
					} else if w.e.Direct {
						w.loc = x.loc
					}
				}
			}
		}
		if w.bad != "" {
			return w.bad
		}
		if w.loc == loc && w.h == h {
			w.rest()
			return w.bad
		}
	}
	return "explore: the world does not come to rest"
}
