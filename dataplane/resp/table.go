package resp

// cmdID names a command.
type cmdID uint8

const (
	cmdNone cmdID = iota
	cmdGet
	cmdSet
	cmdDel
	cmdUnlink
	cmdExists
	cmdMGet
	cmdMSet
	cmdStrlen
	cmdPing
	cmdEcho
	cmdInfo
	cmdDBSize
	cmdHello
	cmdAuth
	cmdClient
	cmdCommand
	cmdConfig
	cmdSelect
	cmdQuit
	cmdReset
	cmdHealScope
	cmdHealPersist
	cmdCount
)

// command is a row of the table; COMMAND shows it.
type command struct {
	name              string // as in error messages
	arity             int    // arguments with the name; -n: at least n
	flags             []string
	first, last, step int // positions of keys
}

var commands = [cmdCount]command{
	cmdGet:         {"get", 2, []string{"readonly", "fast"}, 1, 1, 1},
	cmdSet:         {"set", -3, []string{"write", "denyoom"}, 1, 1, 1},
	cmdDel:         {"del", -2, []string{"write"}, 1, -1, 1},
	cmdUnlink:      {"unlink", -2, []string{"write", "fast"}, 1, -1, 1},
	cmdExists:      {"exists", -2, []string{"readonly", "fast"}, 1, -1, 1},
	cmdMGet:        {"mget", -2, []string{"readonly", "fast"}, 1, -1, 1},
	cmdMSet:        {"mset", -3, []string{"write", "denyoom"}, 1, -1, 2},
	cmdStrlen:      {"strlen", 2, []string{"readonly", "fast"}, 1, 1, 1},
	cmdPing:        {"ping", -1, []string{"fast"}, 0, 0, 0},
	cmdEcho:        {"echo", 2, []string{"fast"}, 0, 0, 0},
	cmdInfo:        {"info", -1, []string{"loading", "stale"}, 0, 0, 0},
	cmdDBSize:      {"dbsize", 1, []string{"readonly", "fast"}, 0, 0, 0},
	cmdHello:       {"hello", -1, []string{"noscript", "loading", "stale", "fast", "no_auth"}, 0, 0, 0},
	cmdAuth:        {"auth", -2, []string{"noscript", "loading", "stale", "fast", "no_auth"}, 0, 0, 0},
	cmdClient:      {"client", -2, []string{"noscript", "loading", "stale"}, 0, 0, 0},
	cmdCommand:     {"command", -1, []string{"loading", "stale"}, 0, 0, 0},
	cmdConfig:      {"config", -2, []string{"admin", "noscript", "loading", "stale"}, 0, 0, 0},
	cmdSelect:      {"select", 2, []string{"loading", "stale", "fast"}, 0, 0, 0},
	cmdQuit:        {"quit", -1, []string{"noscript", "loading", "stale", "fast", "no_auth"}, 0, 0, 0},
	cmdReset:       {"reset", 1, []string{"noscript", "loading", "stale", "fast", "no_auth"}, 0, 0, 0},
	cmdHealScope:   {"heal.scope", 2, []string{"fast"}, 0, 0, 0},
	cmdHealPersist: {"heal.persist", -1, []string{"write"}, 0, 0, 0},
}

// lookup finds a command by name in any case. It is a switch, which the
// compiler turns into a search by length and content: nothing is allocated or
// hashed per command.
func lookup(name []byte) cmdID {
	var up [16]byte
	if len(name) > len(up) {
		return cmdNone
	}
	for i, ch := range name {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		up[i] = ch
	}
	switch string(up[:len(name)]) {
	case "GET":
		return cmdGet
	case "SET":
		return cmdSet
	case "DEL":
		return cmdDel
	case "UNLINK":
		return cmdUnlink
	case "EXISTS":
		return cmdExists
	case "MGET":
		return cmdMGet
	case "MSET":
		return cmdMSet
	case "STRLEN":
		return cmdStrlen
	case "PING":
		return cmdPing
	case "ECHO":
		return cmdEcho
	case "INFO":
		return cmdInfo
	case "DBSIZE":
		return cmdDBSize
	case "HELLO":
		return cmdHello
	case "AUTH":
		return cmdAuth
	case "CLIENT":
		return cmdClient
	case "COMMAND":
		return cmdCommand
	case "CONFIG":
		return cmdConfig
	case "SELECT":
		return cmdSelect
	case "QUIT":
		return cmdQuit
	case "RESET":
		return cmdReset
	case "HEAL.SCOPE":
		return cmdHealScope
	case "HEAL.PERSIST":
		return cmdHealPersist
	}
	return cmdNone
}
