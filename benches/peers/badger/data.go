package main

// The data set, the same for every store: README.md defines it.

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"syscall"
	"unsafe"
)

// The kinds, in order, and what their ids begin with: 12 bytes together, so that keys have 40.
var kinds = [8][2]string{
	{"Agent", "agentid"},
	{"Execution", "exe"},
	{"LogChunk", "logc"},
	{"Project", "projt"},
	{"Schedule", "schd"},
	{"Secret", "secret"},
	{"Session", "sessn"},
	{"Workflow", "wflw"},
}

const (
	keyLen  = 40
	pool    = 1024
	digits  = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	epochMs = 1_700_000_000_000
)

// Numbers that look random, the same in every run.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Room for count of something without pointers, of which the collector knows nothing. On its heap,
// what is made before the clock starts would be counted as the store's and let the heap grow
// further between two collections than the store alone does; and of what it left there, used pages
// would come back, which Go clears and so brings into memory for nothing when the store takes them.
func outsideHeap[T any](count int) []T {
	if count == 0 {
		return nil
	}
	var one T
	size := count * int(unsafe.Sizeof(one))
	const access = syscall.PROT_READ | syscall.PROT_WRITE
	room, err := syscall.Mmap(-1, 0, size, access, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		// As make does it.
		panic(fmt.Sprintf("no memory for %d bytes of the data set: %v", size, err))
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&room[0])), count)
}

// Keys in the order of their use, side by side: what a workload asks for next is in the cache, and
// only the store's own misses are measured.
type keys struct {
	text []byte
}

// The keys of count records; record is asked in order.
func makeKeys(count int, record func(i int) uint64) keys {
	made := keys{outsideHeap[byte](count * keyLen)}
	for i := 0; i < count; i++ {
		putKey(made.at(i), record(i))
	}
	return made
}

// The keys of records in some order.
func keysOf(order []uint32) keys {
	return makeKeys(len(order), func(i int) uint64 { return uint64(order[i]) })
}

// Makes of each key one that is nowhere, beside one that is: its last character is no digit.
func (k keys) makeMissing() {
	for i := keyLen - 1; i < len(k.text); i += keyLen {
		k.text[i] = '_'
	}
}

func (k keys) len() int {
	return len(k.text) / keyLen
}

// A key has no room behind it: who appends to it makes a copy.
func (k keys) at(i int) []byte {
	return k.text[i*keyLen : (i+1)*keyLen : (i+1)*keyLen]
}

func putKey(key []byte, record uint64) {
	kind := kinds[record%8]
	n := copy(key, kind[0]+"/"+kind[1]+"-")
	putBase32(key[n:n+10], epochMs+record/8)
	// 80 bits, in halves of 8 digits each.
	high, low := mix(2*record), mix(2*record+1)&0xffff
	putBase32(key[n+10:n+18], high>>24)
	putBase32(key[n+18:n+26], high<<16|low)
}

// Fills all of text with the last digits of a number.
func putBase32(text []byte, number uint64) {
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = digits[number&31]
		number >>= 5
	}
}

// What the keys of a kind begin with, from one of them.
func kindPrefix(key []byte) []byte {
	for i, char := range key {
		if char == '/' {
			return key[:i+1]
		}
	}
	return key
}

// What the keys of each kind begin with.
func kindPrefixes() [][]byte {
	var prefixes [][]byte
	for _, kind := range kinds {
		prefixes = append(prefixes, []byte(kind[0]+"/"))
	}
	return prefixes
}

// The record numbers in the order of their keys.
func inOrder(records int) []uint32 {
	order, place := outsideHeap[uint32](records), 0
	for kind := range kinds {
		for record := kind; record < records; record += len(kinds) {
			order[place] = uint32(record)
			place++
		}
	}
	return order
}

// The record numbers at random: a shuffle of the order of keys.
func shuffled(records int) []uint32 {
	order := inOrder(records)
	for j := len(order) - 1; j > 0; j-- {
		other := mix(uint64(j)) % uint64(j+1)
		order[j], order[other] = order[other], order[j]
	}
	return order
}

// What record numbers are drawn from: a stream of its own for each workload and thread.
type stream uint64

func newStream(salt, thread int) stream {
	return stream(uint64(salt)<<56 + uint64(thread)<<40)
}

func (s stream) at(i int) uint64 {
	return mix(uint64(s) + uint64(i))
}

// A record number below records, as likely as any other; no order is asked.
func (s stream) record(i, records int) uint64 {
	return s.at(i) % uint64(records)
}

// Whether an operation is one of so many in a hundred.
func among(random uint64, percent int) bool {
	return mix(random^0x5555)%100 < uint64(percent)
}

// Ranks of which the first are far more likely, as YCSB has them.
type zipfian struct {
	n, zetaN, eta float64
}

const theta = 0.99

func newZipfian(records int) zipfian {
	zeta := func(n int) float64 {
		sum := 0.0
		for i := 1; i <= n; i++ {
			sum += math.Pow(float64(i), -theta)
		}
		return sum
	}
	n, zetaN := float64(records), zeta(records)
	return zipfian{n, zetaN, (1 - math.Pow(2/n, 1-theta)) / (1 - zeta(2)/zetaN)}
}

func (z zipfian) rank(random uint64) int {
	u := float64(random>>11) / (1 << 53)
	switch uz := u * z.zetaN; {
	case uz < 1:
		return 0
	case uz < 1+math.Pow(0.5, theta):
		return 1
	}
	rank := int(z.n * math.Pow(z.eta*u-z.eta+1, 1/(1-theta)))
	if last := int(z.n) - 1; rank > last {
		return last
	}
	return rank
}

// Picks a record by a random number.
type pick func(random uint64) uint64

func uniformPick(records int) pick {
	order := shuffled(records)
	return func(random uint64) uint64 { return uint64(order[random%uint64(records)]) }
}

func zipfianPick(records int) pick {
	order, ranks := shuffled(records), newZipfian(records)
	return func(random uint64) uint64 { return uint64(order[ranks.rank(random)]) }
}

// The values, side by side.
type values struct {
	text []byte
	size int
}

func makeValues(size int) values {
	made := values{outsideHeap[byte](pool * size), size}
	for v := 0; v < pool; v++ {
		putValue(made.text[v*size:][:size], uint64(v))
	}
	return made
}

// The value of a record in one of its versions, from 0.
func (v values) of(record uint64, version int) []byte {
	start := int((record+131*uint64(version))%pool) * v.size
	return v.text[start : start+v.size : start+v.size]
}

// The lengths that a value may have: with these, its content's length takes two bytes.
const shortestValue, longestValue = 200, 16384

// Fills all of value with the LogChunk of this number, encoded.
func putValue(value []byte, number uint64) {
	const text = "step finished; next step is waiting for its turn. "
	const hex = "0123456789abcdef"
	// Each field has its number, times 8, plus 2 if a length comes first.
	at := 0
	put := func(bytes ...byte) { at += copy(value[at:], bytes) }
	putNumber := func(number uint64) { at += binary.PutUvarint(value[at:], number) }

	put(1<<3|2, 20, 'e', 'x', 'e', '-')
	for shift := 60; shift >= 0; shift -= 4 {
		put(hex[mix(number)>>shift&15])
	}
	put(2 << 3)
	putNumber(1_000_000 + number)
	put(3<<3, 1)
	// Behind the content, and its length in two bytes, come the 14 bytes of the time.
	put(4<<3 | 2)
	size := len(value) - at - 2 - 14
	putNumber(uint64(size))
	content := value[at : at+size]
	random := len(value) / 2
	for i := 0; i < random; i++ {
		content[i] = byte(mix(number<<32+uint64(i/8)) >> (i % 8 * 8))
	}
	for i := random; i < size; i++ {
		content[i] = text[(i-random)%len(text)]
	}
	at += size
	put(5<<3|2, 12, 1<<3)
	putNumber(1_700_000_000 + number)
	put(2 << 3)
	putNumber(500_000_000)
}

// Prints the first records of both orders, to be compared with what kindlog-peers prints.
func printDataset(records, valueLen, count int) {
	values := makeValues(valueLen)
	show := func(name string, order []uint32) {
		fmt.Println(name)
		key := make([]byte, keyLen)
		for _, record := range order[:min(count, len(order))] {
			putKey(key, uint64(record))
			value := values.of(uint64(record), 0)
			checksum := crc32.ChecksumIEEE(value)
			start := value[:min(48, len(value))]
			fmt.Printf("%d %s %d %x... CRC-32 %08x\n", record, key, len(value), start, checksum)
		}
	}
	show("in order", inOrder(records))
	show("at random", shuffled(records))
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
