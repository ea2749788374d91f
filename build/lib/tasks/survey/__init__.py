"""What a data set holds and lacks, told in numbers, pictures, pages and words."""
