package explore

import (
	"os"
	"testing"
)

func TestOneScript(t *testing.T) {
	p := os.Getenv("SCRIPT")
	if p == "" {
		t.Skip()
	}
	b, _ := os.ReadFile(p)
	s, err := ParseScript(p, string(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s.Replay(true))
}
