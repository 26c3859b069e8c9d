// Package config reads the configuration of a node: a TOML file, environment
// variables and flags, in this order of precedence from weak to strong, over
// built-in defaults. It is the only place that knows how a setting is spelled.
//
// One table (keys.go) lists every key with its help text, its allowed values
// and its check. A key `resp.listen` is the flag --resp-listen and the
// environment variable HEALKV_RESP_LISTEN. An unknown key is an error that
// names it and its line; a bad value is an error that names where it came
// from, the key, the value and what is allowed.
//
// The package reads files and the environment it is handed, and opens nothing
// else: whether a directory exists or a port is free is found out by whoever
// uses it.
//
// Units: sizes in bytes, written with B, KiB, MiB, GiB or TiB; durations as
// Go writes them (50us, 2s).
package config
