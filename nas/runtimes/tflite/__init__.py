"""The file format of LiteRT, formerly TensorFlow Lite: a network written as a flatbuffer."""
