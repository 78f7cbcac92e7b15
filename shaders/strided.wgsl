// strided
