// adam
