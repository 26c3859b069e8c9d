package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"healkv/bench/floor"
)

// childOfFloor is the first argument of a process that `node floor` starts.
const childOfFloor = "--child"

type floorArgs struct {
	o    floor.Options
	json bool
}

func floorFlags(a *floorArgs) *flag.FlagSet {
	fs := newFlagSet("floor")
	fs.BoolVar(&a.json, "json", false, "the figures as JSON")
	fs.StringVar(&a.o.Only, "only", "", "floors whose name contains this `text`")
	fs.IntVar(&a.o.Runs, "runs", 5, "measurements of each floor; the median is shown")
	fs.DurationVar(&a.o.Time, "time", 200*time.Millisecond, "of one measurement")
	fs.StringVar(&a.o.Disk, "disk", os.TempDir(), "a `folder` on the file system whose flush is measured")
	fs.StringVar(&a.o.Memory, "memory", "/dev/shm", "a `folder` on tmpfs")
	return fs
}

func runFloor(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == childOfFloor {
		return floor.Child(args[1:])
	}
	var a floorArgs
	if err := parse(floorFlags(&a), args); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	a.o.Child = []string{exe, "floor", childOfFloor}
	figures, err := floor.Measure(ctx, a.o)
	if errors.Is(err, floor.ErrOptions) {
		return usage("%v", err)
	}
	if err != nil {
		return err
	}
	if a.json {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(figures)
	}
	floor.Write(os.Stdout, figures)
	fmt.Println()
	for _, f := range figures {
		fmt.Printf("%s: %s\n", f.Name, f.About)
	}
	return nil
}
