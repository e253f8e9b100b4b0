// The client of Go's standard library. Arguments: the server's URL, the file it serves.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
	MaxIdleConnsPerHost: 16, ExpectContinueTimeout: 5 * time.Second}}

func ask(method, url string, body io.Reader, fields map[string]string) (*http.Response, []byte) {
	request, err := http.NewRequest(method, url, body)
	check(err)
	for name, value := range fields {
		request.Header.Set(name, value)
	}
	answer, err := client.Do(request)
	check(err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	check(err)
	return answer, content
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func expect(isRight bool, what string) {
	if !isRight {
		check(fmt.Errorf("wrong: %s", what))
	}
}

// unsized hides the length, so that the body is sent in chunks.
type unsized struct{ io.Reader }

func main() {
	url := os.Args[1]
	file, err := os.ReadFile(os.Args[2])
	check(err)
	data := file[:900000]
	var all sync.WaitGroup
	for range [16]int{} {
		all.Add(1)
		go func() {
			defer all.Done()
			for range [20]int{} {
				_, content := ask("GET", url+"/plaintext", nil, nil)
				expect(string(content) == "Hello, World!", "plaintext")
			}
		}()
	}
	all.Wait()
	for _, fields := range []map[string]string{nil, {"Expect": "100-continue"}} {
		_, content := ask("POST", url+"/echo", bytes.NewReader(data), fields)
		expect(bytes.Equal(content, data), "an echo with a length")
		_, content = ask("POST", url+"/echo", unsized{bytes.NewReader(data)}, fields)
		expect(bytes.Equal(content, data), "an echo in chunks")
	}
	big := bytes.Repeat(file, 10)
	for range [5]int{} {
		answer, _ := ask("POST", url+"/echo", unsized{bytes.NewReader(big)}, nil)
		expect(answer.StatusCode == 413, "a refused upload: "+answer.Status)
	}
	answer, content := ask("HEAD", url+"/json", nil, nil)
	expect(answer.ContentLength == 27 && len(content) == 0, "HEAD")
	answer, content = ask("GET", url+"/files/large", nil, map[string]string{"Range": "bytes=5-9"})
	expect(answer.StatusCode == 206 && bytes.Equal(content, file[5:10]), "a part: "+answer.Status)
	answer, _ = ask("GET", url+"/files/large", nil, map[string]string{"If-None-Match": answer.Header.Get("ETag")})
	expect(answer.StatusCode == 304, "a copy: "+answer.Status)
}
