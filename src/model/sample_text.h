// The text that decides a model file's profile (model/trial.h): some of what people archive. Part of the
// product's definition: another text may choose another profile, and so give another file.
#pragma once

#include <string_view>

namespace llmc {

inline constexpr std::string_view kSampleText = R"(The harbour office kept two clocks. One was set every noon by the
signal from the observatory; the other had belonged to the old pilot, and nobody had the heart to correct it. "It is eleven
minutes slow," said Anna, when the inspector asked which of them he should believe. "It always was. He used to say that the
tide came eleven minutes late as well, so that between them they were right." The inspector wrote this down, crossed it out,
and looked from the window at the ships, which lay so still on the grey water that they might have been painted there.

In 1854 the town had 3,217 inhabitants, two churches and a rope works; by 1891 it had 12,840 and a railway. The census of that
year lists 412 seamen, 96 fishermen, 31 carpenters, 7 physicians and one photographer. Between 1870 and 1885 the price of
salted herring fell by nearly 40 percent, which most historians explain by the new line to the south rather than by larger
catches (see table 2).

## Installing

1. Unpack the archive and change into its directory.
2. Run `./configure --prefix=/usr/local`; pass `--without-ssl` if the library is missing.
3. Run `make -j4 && make check`. If a test fails, please send us the file `tests/report.log`.

Note: the default value of `timeout` is 30 seconds. A value of 0 disables it, which is not recommended on servers.

```python
def moving_average(values, window=5):
    """Mean of the last `window` values at each place; shorter at the start."""
    total, out = 0.0, []
    for i, v in enumerate(values):
        total += v
        if i >= window:
            total -= values[i - window]
        out.append(total / min(i + 1, window))
    return out
```

static int find_slot(const struct table *t, uint32_t key) {
  size_t i = hash32(key) & t->mask;
  while (t->slots[i].used && t->slots[i].key != key) {
    i = (i + 1) & t->mask;  /* linear probing */
  }
  return t->slots[i].used ? (int)i : -1;
}

{"id": 1042, "name": "sensor-north", "unit": "degC", "samples": [12.5, 12.7, 12.6, 13.1], "ok": true}
{"id": 1043, "name": "sensor-south", "unit": "degC", "samples": [14.0, 14.2, null, 14.9], "ok": false}

[14:03] <marek> has anyone tried the new kernel on the arm boxes?
[14:03] <lena> yes, boots fine here, but suspend is still broken
[14:05] <marek> same bug as last time? i'll add a comment to the ticket, thanks :)

The patient was given 40 mg of the drug once daily for six weeks. Common side effects are headache, dry mouth and tiredness;
they usually pass after a few days. Tell your doctor if you are pregnant, or if you take other medicines for blood pressure.

Am Abend, als der Regen aufgehört hatte, gingen sie noch einmal durch die leeren Straßen bis zum Fluss hinunter. «Et demain ?»
demanda-t-elle. Il ne répondit pas tout de suite. We prove that every bounded sequence of real numbers has a convergent
subsequence: let $(x_n)$ be bounded, and choose $a_1 < b_1$ such that $a_1 \le x_n \le b_1$ for all $n$.
)";

}  // namespace llmc
