// Command apply answers how Kubernetes' own merge library (structured-merge-diff) applies and updates an object.
//
// It reads one JSON document a line and answers each with one. The first is the schema; each of the others is a write, complete with
// what was there before, so that nothing is remembered between them.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"sigs.k8s.io/structured-merge-diff/v4/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v4/merge"
	"sigs.k8s.io/structured-merge-diff/v4/typed"
	"sigs.k8s.io/structured-merge-diff/v4/value"
)

type entry struct {
	Manager string          `json:"manager"`
	Applied bool            `json:"applied"`
	Fields  json.RawMessage `json:"fields"`
}

type write struct {
	Type    string      `json:"type"`
	Live    interface{} `json:"live"`
	Object  interface{} `json:"object"`
	Entries []entry     `json:"entries"`
	Manager string      `json:"manager"`
	Apply   bool        `json:"apply"`
	Force   bool        `json:"force"`
}

type answer struct {
	Object    interface{} `json:"object,omitempty"`
	Entries   []entry     `json:"entries"`
	Conflicts []string    `json:"conflicts,omitempty"`
	Error     string      `json:"error,omitempty"`
}

// unversioned leaves objects as they are: all managers write the same version.
type unversioned struct{}

func (unversioned) Convert(object *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return object, nil
}

func (unversioned) IsMissingVersionError(error) bool { return false }

// nobodys is what the API server takes out of every manager's set.
var nobodys = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"),
	fieldpath.MakePathOrDie("kind"),
	fieldpath.MakePathOrDie("metadata"),
	fieldpath.MakePathOrDie("metadata", "name"),
	fieldpath.MakePathOrDie("metadata", "namespace"),
	fieldpath.MakePathOrDie("metadata", "uid"),
)

func decode(text []byte, into interface{}) {
	if err := json.Unmarshal(text, into); err != nil {
		panic(err)
	}
}

// whole turns numbers without a fraction into integers, as Kubernetes' JSON does.
func whole(value interface{}) interface{} {
	switch inner := value.(type) {
	case map[string]interface{}:
		for name, member := range inner {
			inner[name] = whole(member)
		}
	case []interface{}:
		for at, item := range inner {
			inner[at] = whole(item)
		}
	case float64:
		if inner == float64(int64(inner)) {
			return int64(inner)
		}
	}
	return value
}

func key(name string, applied bool) string {
	return fmt.Sprintf("%s/%v", name, applied)
}

func known(entries []entry) (fieldpath.ManagedFields, map[string]string) {
	managers := fieldpath.ManagedFields{}
	names := map[string]string{}
	for _, one := range entries {
		set := fieldpath.NewSet()
		if err := set.FromJSON(bytes.NewReader(one.Fields)); err != nil {
			panic(err)
		}
		managers[key(one.Manager, one.Applied)] = fieldpath.NewVersionedSet(set, "v1", one.Applied)
		names[key(one.Manager, one.Applied)] = one.Manager
	}
	return managers, names
}

// conflicts names what others own and a forced apply changes. The paths in the library's own error are not to be relied on: in
// Debian's version neighbours share memory.
func conflicts(live, forced *typed.TypedValue, managers fieldpath.ManagedFields, names map[string]string, me string) []string {
	changes, err := live.Compare(forced)
	if err != nil {
		panic(err)
	}
	texts := []string{}
	for of, owned := range managers {
		if of == me {
			continue
		}
		owned.Set().Intersection(changes.Modified.Union(changes.Added)).Iterate(func(path fieldpath.Path) {
			texts = append(texts, fmt.Sprintf("%s: %v", names[of], path))
		})
	}
	sort.Strings(texts)
	return texts
}

func do(parser *typed.Parser, asked write) answer {
	kind := parser.Type(asked.Type)
	live := typed.AsTypedUnvalidated(value.NewValueInterface(whole(asked.Live)), kind.Schema, kind.TypeRef)
	object, err := kind.FromUnstructured(whole(asked.Object))
	if err != nil && asked.Apply {
		return answer{Error: err.Error()}
	}
	if err != nil {
		object = typed.AsTypedUnvalidated(value.NewValueInterface(asked.Object), kind.Schema, kind.TypeRef)
	}
	managers, names := known(asked.Entries)
	me := key(asked.Manager, asked.Apply)
	names[me] = asked.Manager
	updater := merge.Updater{Converter: unversioned{}}
	result := object
	if asked.Apply {
		result, managers, err = updater.Apply(live, object, "v1", managers, me, asked.Force)
	} else {
		_, managers, err = updater.Update(live, object, "v1", managers, me)
	}
	if _, ok := err.(merge.Conflicts); ok {
		before, _ := known(asked.Entries)
		again, _ := known(asked.Entries)
		forced, _, err := updater.Apply(live, object, "v1", again, me, true)
		if err != nil {
			panic(err)
		}
		return answer{Conflicts: conflicts(live, forced, before, names, me)}
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	if result == nil {
		result = live
	}
	told := answer{Object: result.AsValue().Unstructured(), Entries: []entry{}}
	for of, one := range managers {
		set := one.Set()
		if of == me {
			set = set.Difference(nobodys)
		}
		if set.Empty() {
			continue
		}
		text, err := set.ToJSON()
		if err != nil {
			panic(err)
		}
		told.Entries = append(told.Entries, entry{names[of], one.Applied(), text})
	}
	return told
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		panic(err)
	}
	parser, err := typed.NewParser(typed.YAMLObject(first))
	if err != nil {
		panic(err)
	}
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked write
		decode(line, &asked)
		if err := out.Encode(do(parser, asked)); err != nil {
			panic(err)
		}
	}
}
