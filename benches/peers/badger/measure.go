package main

// Clocks, memory, bytes on disk.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Reads a byte of each cache line, as a program that uses the value would at least.
func touch(value []byte) error {
	sum(value)
	return nil
}

// Not inlined, or nothing would be read: nobody wants the sum.
//
//go:noinline
func sum(value []byte) uint64 {
	sum := uint64(len(value))
	for i := 0; i < len(value); i += 64 {
		sum += uint64(value[i])
	}
	return sum
}

// Runs work in each of some threads at once, and returns the time from the start of the first to
// the end of the last. Each reads the clock itself: whoever waits for them may be woken late.
func inThreads(threads int, work func(thread int) error) (time.Duration, error) {
	type outcome struct {
		start, end time.Time
		err        error
	}
	outcomes := make([]outcome, threads)
	var ready, over sync.WaitGroup
	ready.Add(threads)
	over.Add(threads)
	for thread := range outcomes {
		go func(thread int) {
			defer over.Done()
			ready.Done()
			ready.Wait()
			start := time.Now()
			err := work(thread)
			outcomes[thread] = outcome{start, time.Now(), err}
		}(thread)
	}
	over.Wait()
	start, end := outcomes[0].start, outcomes[0].end
	for _, outcome := range outcomes {
		if outcome.err != nil {
			return 0, outcome.err
		}
		if outcome.start.Before(start) {
			start = outcome.start
		}
		if outcome.end.After(end) {
			end = outcome.end
		}
	}
	return end.Sub(start), nil
}

// The bytes that the files below a directory take: their blocks, since a file may be made long
// before it is filled. What goes meanwhile is left out: the store may remove files.
func bytesOnDisk(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				stat, known := info.Sys().(*syscall.Stat_t)
				if !known {
					return errors.New("this system does not say how many blocks a file has")
				}
				total += stat.Blocks * 512
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// The number behind a name at the start of a line of a file below /proc/self.
func procField(file, name string) (uint64, error) {
	text, err := os.ReadFile("/proc/self/" + file)
	if err != nil {
		return 0, err
	}
	return fieldOf(text, file, name)
}

func fieldOf(text []byte, file, name string) (uint64, error) {
	for _, line := range bytes.Split(text, []byte("\n")) {
		words := bytes.Fields(line)
		if len(words) > 1 && string(words[0]) == name {
			return strconv.ParseUint(string(words[1]), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/%s lacks %s", file, name)
}

// The bytes that this process has had read from a disk.
func readFromDisk() (uint64, error) {
	return procField("io", "read_bytes:")
}

// What this process has in memory, in bytes.
type memory struct {
	// The heap and the stacks.
	anonymous uint64
	// With what is mapped of files; the kernel takes that back when it needs it.
	resident uint64
}

func memoryNow() (memory, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return memory{}, err
	}
	anonymous, err := fieldOf(text, "status", "RssAnon:")
	if err != nil {
		return memory{}, err
	}
	resident, err := fieldOf(text, "status", "VmRSS:")
	return memory{anonymous << 10, resident << 10}, err
}

func (m memory) most(other memory) memory {
	if other.anonymous > m.anonymous {
		m.anonymous = other.anonymous
	}
	if other.resident > m.resident {
		m.resident = other.resident
	}
	return m
}

// The most memory that the process had while work ran, looked at every 10 ms.
func peakMemory(work func() error) (memory, error) {
	type seen struct {
		peak memory
		err  error
	}
	over, watched := make(chan struct{}), make(chan seen)
	go func() {
		var all seen
		for {
			now, err := memoryNow()
			all.peak = all.peak.most(now)
			if all.err == nil {
				all.err = err
			}
			select {
			case <-over:
				watched <- all
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	err := work()
	close(over)
	all := <-watched
	if err == nil {
		err = all.err
	}
	if err != nil {
		return memory{}, err
	}
	// What is done in less than that may have been seen by nobody.
	last, err := memoryNow()
	return all.peak.most(last), err
}

// How often each latency occurred: 32 buckets between one power of two and the next, so a figure is
// off by 3 % at most.
type histogram struct {
	counts [64 << bucketsLog2]uint64
	total  uint64
	maxNs  uint64
}

const bucketsLog2 = 5

func (h *histogram) add(latency time.Duration) {
	ns := uint64(latency)
	h.counts[bucket(ns)]++
	h.total++
	if ns > h.maxNs {
		h.maxNs = ns
	}
}

// The latency in microseconds that this share of all was not longer than.
func (h *histogram) percentileUs(share float64) float64 {
	rank := uint64(math.Ceil(share * float64(h.total)))
	var seen uint64
	for i, count := range h.counts {
		if seen += count; seen >= rank {
			longest := upperNs(i)
			if longest > h.maxNs {
				longest = h.maxNs
			}
			return float64(longest) / 1e3
		}
	}
	return h.maxUs()
}

func (h *histogram) maxUs() float64 {
	return float64(h.maxNs) / 1e3
}

func bucket(ns uint64) int {
	log2 := bits.Len64(ns|1) - 1
	if log2 <= bucketsLog2 {
		return int(ns)
	}
	shift := log2 - bucketsLog2
	return shift<<bucketsLog2 + int(ns>>shift)
}

// The longest latency in a bucket.
func upperNs(bucket int) uint64 {
	const width = 1 << bucketsLog2
	if bucket < 2*width {
		return uint64(bucket)
	}
	shift := bucket/width - 1
	return uint64(bucket%width+width+1)<<shift - 1
}
