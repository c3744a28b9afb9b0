// Memory that goes back to the machine at once.
#pragma once

#include <string>

namespace diffused {

// Ends the text and gives the pages under a large one back, although the heap keeps its place: the program
// keeps what is freed for the next layer's activations (app/main.cpp), and many bodies that came one after
// the other to different places would stay resident, together more than was ever charged at one time.
void drop_text(std::string text);

}  // namespace diffused
