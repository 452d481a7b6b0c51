// Command patches answers what the libraries that Kubernetes uses make of patches and of YAML.
//
// It reads one JSON document a line and answers each with one.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	jsonpatch "github.com/evanphx/json-patch"
	"sigs.k8s.io/yaml"
)

type question struct {
	Kind     string          `json:"kind"`
	Document json.RawMessage `json:"document"`
	Patch    json.RawMessage `json:"patch"`
	Text     string          `json:"text"`
}

type answer struct {
	Document json.RawMessage `json:"document,omitempty"`
	Error    string          `json:"error,omitempty"`
	Panic    string          `json:"panic,omitempty"`
}

func do(asked question) (told answer) {
	defer func() {
		if why := recover(); why != nil {
			told = answer{Panic: fmt.Sprint(why)}
		}
	}()
	var result []byte
	var err error
	switch asked.Kind {
	case "json":
		var patch jsonpatch.Patch
		if patch, err = jsonpatch.DecodePatch(asked.Patch); err == nil {
			result, err = patch.Apply(asked.Document)
		}
	case "merge":
		result, err = jsonpatch.MergePatch(asked.Document, asked.Patch)
	case "yaml":
		result, err = yaml.YAMLToJSON([]byte(asked.Text))
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Document: result}
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		if err := out.Encode(do(asked)); err != nil {
			panic(err)
		}
	}
}
