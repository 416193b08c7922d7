// Logits of a .pte file in ExecuTorch's C++ runtime, and marked inferences for the plugins to count.
//
//     run_pte MODEL IMAGES LOGITS COUNT CHANNELS HEIGHT WIDTH MARKED
//
// IMAGES: float32 [COUNT, CHANNELS, HEIGHT, WIDTH], nothing else. LOGITS: float32 [COUNT, classes], written. Then the
// last image is run MARKED times more between markers. Prints the seconds of one inference: all but the first, averaged.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

using executorch::extension::from_blob;
using executorch::extension::Module;

constexpr int mark_start = 0x4d41524b, mark_stop = 0x4d41524c;  // of plugin.h

static void fail(const char* what, int code) {
    std::fprintf(stderr, "run_pte: %s (%d)\n", what, code);
    std::exit(1);
}

int main(int count, char** words) {
    if (count != 9) fail("wrong number of arguments", count);
    const int images = std::atoi(words[4]), channels = std::atoi(words[5]), height = std::atoi(words[6]);
    const int width = std::atoi(words[7]), marked = std::atoi(words[8]);
    const size_t size = size_t(channels) * height * width;
    std::vector<float> pixels(size * images);
    std::ifstream input(words[2], std::ios::binary);
    if (!input.read(reinterpret_cast<char*>(pixels.data()), pixels.size() * sizeof(float))) fail("short input", images);

    Module module(words[1]);
    if (auto error = module.load_forward(); error != executorch::runtime::Error::Ok) fail("cannot load", int(error));
    std::vector<float> image(size), logits;
    auto tensor = from_blob(image.data(), {1, channels, height, width});
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < images; i++) {
        std::copy_n(pixels.begin() + i * size, size, image.begin());
        auto result = module.forward(tensor);
        if (!result.ok()) fail("cannot run", int(result.error()));
        const auto output = result->at(0).toTensor();
        logits.insert(logits.end(), output.const_data_ptr<float>(), output.const_data_ptr<float>() + output.numel());
        if (i == 0) begin = std::chrono::steady_clock::now();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    for (int i = 0; i < marked; i++) {
        access("", mark_start);
        auto result = module.forward(tensor);
        access("", mark_stop);
        if (!result.ok()) fail("cannot run", int(result.error()));
    }
    std::ofstream output(words[3], std::ios::binary);
    output.write(reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float));
    if (!output.flush()) fail("cannot write", 0);
    std::printf("%.6f\n", seconds.count() / std::max(images - 1, 1));
}
