package explore

import (
	"fmt"
	"strconv"
	"strings"

	"healkv/dataplane/proto"
)

// Action is one thing that happens to the world: kind, node, and up to two
// numbers, in one word.
type Action uint32

type actionKind uint8

const (
	actListen actionKind = iota
	actMarks
	actStream
	actPublish
	actFlush
	actForward
	actAdopt
	actInstall
	actLearn
	actDrive
	actTransfer
	actBegin
	actRemove
	// From here on: what nobody has to do.
	actPut
	actDelete
	actPersist
	actGet
	actCrash
	actLease
	actDrop // a shadow that runs leaves the view
	actionKinds
)

// free says whether the action is one that clients or faults may leave undone
// for ever (I10).
func (k actionKind) free() bool { return k >= actPut }

// grammar: the words of a script. What follows the node: k a key, n another
// node, v the epoch of a view, c how a process ends.
var grammar = [actionKinds]struct{ word, arg string }{
	actListen: {"listen", "n"}, actMarks: {"marks", "n"}, actStream: {"stream", "n"}, actPublish: {"publish", ""},
	actFlush: {"flush", ""}, actForward: {"forward", ""}, actAdopt: {"adopt", ""}, actInstall: {"install", "v"},
	actLearn: {"learn", ""}, actDrive: {"drive", ""}, actTransfer: {"transfer", ""}, actBegin: {"begin", ""}, actRemove: {"remove", ""},
	actPut: {"put", "k"}, actDelete: {"delete", "k"}, actPersist: {"persist", ""}, actGet: {"get", "k"}, actCrash: {"crash", "c"}, actLease: {"lose-lease", ""}, actDrop: {"drop", ""},
}

func act(k actionKind, n proto.NodeID, a int) Action {
	return Action(uint32(k)<<16 | uint32(n)<<8 | uint32(a))
}

func (a Action) kind() actionKind   { return actionKind(a >> 16) }
func (a Action) node() proto.NodeID { return proto.NodeID(a >> 8) }
func (a Action) arg() uint8         { return uint8(a) }

// String is the action as a line of a script.
func (a Action) String() string {
	g := grammar[a.kind()]
	s := fmt.Sprintf("%s %d", g.word, a.node())
	switch g.arg {
	case "":
		return s
	case "k":
		return s + " " + string(keyNames[a.arg()])
	case "c":
		switch a.arg() {
		case crashKept:
			return s + " kept"
		case crashSuper:
			return s + " index-lost"
		}
		return s + " power " + strconv.Itoa(int(a.arg()-crashPower))
	}
	return s + " " + strconv.Itoa(int(a.arg()))
}

// ParseAction is the inverse of String.
func ParseAction(line string) (Action, error) {
	bad := fmt.Errorf("explore: no action: %q", line)
	f := strings.Fields(line)
	if len(f) < 2 {
		return 0, bad
	}
	n, err := strconv.Atoi(f[1])
	if err != nil || n < 0 || n >= nodesMax {
		return 0, bad
	}
	for k := range actionKinds {
		g := grammar[k]
		if g.word != f[0] {
			continue
		}
		switch {
		case g.arg == "" && len(f) == 2:
			return act(k, proto.NodeID(n), 0), nil
		case g.arg == "" || len(f) < 3:
			return 0, bad
		case g.arg == "k" && len(f) == 3:
			for i := range keyNames {
				if string(keyNames[i]) == f[2] {
					return act(k, proto.NodeID(n), i), nil
				}
			}
			return 0, bad
		case g.arg == "c":
			switch {
			case f[2] == "kept" && len(f) == 3:
				return act(k, proto.NodeID(n), crashKept), nil
			case f[2] == "index-lost" && len(f) == 3:
				return act(k, proto.NodeID(n), crashSuper), nil
			case f[2] == "power" && len(f) == 4:
				if v, err := strconv.Atoi(f[3]); err == nil && v >= 0 && v < 200 {
					return act(k, proto.NodeID(n), crashPower+v), nil
				}
			}
			return 0, bad
		case len(f) == 3:
			if v, err := strconv.Atoi(f[2]); err == nil && v >= 0 && v < 256 {
				return act(k, proto.NodeID(n), v), nil
			}
		}
	}
	return 0, bad
}
