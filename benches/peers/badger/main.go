// BadgerDB as a participant of the benchmark of the folder above, whose README.md defines what it
// is asked, what it answers, the data set and the workloads.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// What the build has put in here: the version of the package of BadgerDB that this was built with.
var version string

// How the program ends if it can't do a workload.
const cannot = 3

var errCannot = errors.New("no such workload here")

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, errCannot) {
			os.Exit(cannot)
		}
		os.Exit(1)
	}
}

func run() error {
	var t task
	describes := flag.Bool("describe", false, "print what this is")
	dataset := flag.Bool("dataset", false, "print the first records, as kindlog-peers dataset does")
	count := flag.Int("count", 3, "how many records --dataset prints")
	level := flag.String("level", "os", "when a put returns: os or sync")
	settle := flag.Int("settle-ms", 4000, "how long nothing may change for a store to be idle")
	flag.String("engine", "", "the name under which this takes part; changes nothing")
	flag.StringVar(&t.workload, "workload", "", "what to do")
	flag.StringVar(&t.dir, "dir", "", "where the store is")
	flag.IntVar(&t.records, "records", 1_000_000, "how many records there are")
	flag.IntVar(&t.valueLen, "value", 200, "the values' length in bytes")
	flag.IntVar(&t.threads, "threads", 1, "how many threads work")
	flag.IntVar(&t.ops, "ops", 0, "how many operations all threads do together")
	flag.IntVar(&t.acked, "acked", 0, "how many puts the killed process had acknowledged")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%s: not expected", flag.Arg(0))
	}
	if *describes {
		return describe()
	}
	if t.records < 1 || t.records > 1<<31 {
		return fmt.Errorf("--records %d: wants 1 to 2^31", t.records)
	}
	if t.valueLen < shortestValue || t.valueLen > longestValue {
		return fmt.Errorf("--value %d: wants %d to %d", t.valueLen, shortestValue, longestValue)
	}
	if *dataset {
		printDataset(t.records, t.valueLen, *count)
		return nil
	}
	switch *level {
	case "os", "sync":
		t.sync = *level == "sync"
	default:
		return fmt.Errorf("--level %s: wants os or sync", *level)
	}
	if t.dir == "" {
		return errors.New("--dir: wants the store's folder")
	}
	if t.threads < 1 || t.ops < 0 || t.acked < 0 || t.acked > t.records {
		return fmt.Errorf("--threads %d, --ops %d, --acked %d of %d records: out of range",
			t.threads, t.ops, t.acked, t.records)
	}
	t.settle = time.Duration(*settle) * time.Millisecond
	work, there := workloads[t.workload]
	if !there {
		return fmt.Errorf("--workload %s: %w", t.workload, errCannot)
	}
	return work(&t)
}

// Whoever kills the run wants nobody left behind that goes on for minutes. The wish is one of the
// thread that has it, and is gone with that: init runs in the first thread, which stays.
func init() {
	const option, signal = syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option, signal, 0); errno != 0 {
		fmt.Fprintln(os.Stderr, "asking to be killed with the parent:", errno)
		os.Exit(1)
	}
}

func describe() error {
	if version == "" {
		return errors.New("--describe: built without a version: build.sh knows how")
	}
	return printLine(struct {
		Version      string `json:"version"`
		Settings     string `json:"settings"`
		SurvivesKill bool   `json:"survives_kill"`
	}{"badger " + version + ", " + runtime.Version(), settings, survivesKill})
}

// Prints a figure, whose name ends in its unit.
func figure(metric string, value float64) error {
	return printLine(struct {
		Metric string  `json:"metric"`
		Value  float64 `json:"value"`
	}{metric, value})
}

func rate(metric string, count int, took time.Duration) error {
	return figure(metric, float64(count)/took.Seconds())
}

func printLine(line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(text, '\n'))
	return err
}
