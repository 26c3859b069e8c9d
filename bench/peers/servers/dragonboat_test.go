package servers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/lni/dragonboat/v4/statemachine"
)

func command(key, value string) statemachine.Entry {
	return statemachine.Entry{Cmd: append(append(binary.AppendUvarint(nil, uint64(len(key))), key...), value...)}
}

func TestTableSurvivesItsSnapshot(t *testing.T) {
	a, b := newTable(1, 1), newTable(1, 2)
	for i := range 300 {
		e := command(fmt.Sprint("k", i%200), fmt.Sprint("v", i))
		if _, err := a.Update(e); err != nil {
			t.Fatal(err)
		}
		clear(e.Cmd) // it belongs to the library again
	}
	var file bytes.Buffer
	if err := a.SaveSnapshot(&file, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Update(command("old", "x")); err != nil {
		t.Fatal(err)
	}
	if err := b.RecoverFromSnapshot(bytes.NewReader(file.Bytes()), nil, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		want := fmt.Sprint("v", i)
		if i < 100 {
			want = fmt.Sprint("v", i+200)
		}
		if v, err := b.Lookup(fmt.Sprint("k", i)); err != nil || string(v.([]byte)) != want {
			t.Fatalf("k%d is %v, %v; want %s", i, v, err, want)
		}
	}
	if v, _ := b.Lookup("old"); v != nil {
		t.Error("a key from before the snapshot was kept")
	}
	if err := b.RecoverFromSnapshot(bytes.NewReader(file.Bytes()[:file.Len()-1]), nil, nil); err == nil {
		t.Error("a torn snapshot was taken")
	}
	for _, bad := range [][]byte{nil, {5, 'k'}, {0x80}} {
		if _, err := b.Update(statemachine.Entry{Cmd: bad}); !errors.Is(err, errCommand) {
			t.Errorf("command %v: %v", bad, err)
		}
	}
}
